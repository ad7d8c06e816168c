"""Numbers in words: the few digits that a person reads."""

from __future__ import annotations


def duration(ns: int | None) -> str:
    """Three digits and a unit; `-` where there is none, because too many lives go on."""
    if ns is None:
        return "-"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            value = ns / size
            return f"{value:.0f}{unit}" if value >= 99.95 else f"{value:.3g}{unit}"
    return f"{ns}ns"

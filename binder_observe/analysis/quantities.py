"""Numbers in words: the few digits that a person reads."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from binder_observe.tracker import LruSkips

_OBSTACLES: Final = {
    "alloc_lock": "alloc lock held",
    "mmap_lock": "mmap lock held",
    "mm_gone": "owner gone",
    "other": "not known why",
}


def duration(ns: int | None) -> str:
    """Three digits and a unit; `-` where there is none, because too many lives go on."""
    if ns is None:
        return "-"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            value = ns / size
            return f"{value:.0f}{unit}" if value >= 99.95 else f"{value:.3g}{unit}"
    return f"{ns}ns"


def obstacles(skips: LruSkips) -> str:
    """What the shrinker found in its way, and how often."""
    return ", ".join(f"{_OBSTACLES[reason]} {n}" for reason, n in asdict(skips).items() if n)

"""Names that processes chose for themselves, made fit to print."""

from __future__ import annotations


def printable(name: str | None) -> str:
    """A name as one printable word, escape sequences included; `?` where there is none."""
    return "".join(c if c.isprintable() else "?" for c in name or "?")

"""Words and numbers for a screen of few columns."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

from binder_observe.rows import State

# By State. The shapes differ, so that nobody needs the colours; those are Okabe and Ito's, as in the plots.
SYMBOLS = {State.FREE: "·", State.ACTIVE: "█", State.LRU: "▒", State.UNKNOWN: "?"}
STYLES = {State.FREE: "dim", State.ACTIVE: "#D55E00", State.LRU: "#56B4E9", State.UNKNOWN: "bold"}


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Exactly `width` cells: padded (on the left with `right`), or cut in the middle, because names differ at both
    ends."""
    if width <= 0:
        return ""
    over = cell_len(text) - width
    if over <= 0:
        return " " * -over + text if right else text + " " * -over
    tail = ""
    for c in reversed(text):
        if cell_len(tail) + cell_len(c) > (width - 1) // 2:
            break
        tail = c + tail
    return set_cell_size(set_cell_size(text, width - 1 - cell_len(tail)).rstrip() + "…" + tail, width)


def number(value: float | None) -> str:
    """At most five characters: 0, 0.3, 12, 1234, 12.3k, 1.23M; `-` where nothing is known."""
    if value is None:
        return "-"
    if value < 9.95:
        return f"{value:.1f}".removesuffix(".0")
    if value < 9999.5:
        return f"{value:.0f}"
    for unit in "kMGT":
        value /= 1000
        if value < 999.5 or unit == "T":
            break
    return f"{value:.0f}{unit}" if value >= 99.95 else f"{value:.1f}{unit}"


def clock(ns: int) -> str:
    """Time passed: 0:07.2, 1:02:03."""
    tenths = max(ns, 0) // 100_000_000
    seconds = tenths // 10
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours}:{minutes:02}:{seconds % 60:02}"
    return f"{minutes}:{seconds % 60:02}.{tenths % 10}"


def elapsed(seconds: float) -> str:
    """A round length of time: 8 s, 2 min, 3 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"


def count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"

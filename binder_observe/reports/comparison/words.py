"""How the parts of a comparison read, on a terminal and in a page."""

from __future__ import annotations

from math import isinf
from typing import Final

from binder_observe.analysis.names import printable
from binder_observe.comparison.result import FALSE_DISCOVERIES, SMALLEST_CHANGE, Check, Comparison, Difference, Side
from binder_observe.reports.terminal import duration

MARKS: Final = {"significant": "*", "untested": "?", "noise": "", "same": "", "unknown": ""}
LEGEND: Final = (
    f"* significant: at most {FALSE_DISCOVERIES:.0%} of the differences marked so are expected to be chance, and none "
    f"is under {SMALLEST_CHANGE:.0%}; ? a single number of each recording, without a test"
)
METHOD: Final = (
    "Intervals (95%): bootstrap over time slices. Tests: permutation of time slices, for durations of their log-rank "
    "scores; adjusted for their number."
)


def title(c: Comparison) -> str:
    of = f", processes called {printable(c.name)}" if c.name is not None else ""
    return f"{'SIMULATED ' if c.simulated else ''}binder pages: B against A{of}"


def side(letter: str, s: Side) -> str:
    """What one recording is, and what its numbers are worth."""
    filters = "".join(f"; only {k} {', '.join(v)}" for k, v in s.filters.items() if v)
    return (
        f"{letter}  {s.label}: {s.source}; kernel {s.kernel} (allocator {s.generation}); {s.duration_s:.3g} s; "
        f"{s.mappings} mappings; events {s.events}, lost {s.lost_events}, unexplained {s.unexplained}{filters}"
    )


def summary(c: Comparison) -> str:
    """How many differences of which kind."""
    count = {verdict: sum(d.verdict == verdict for d in c.differences) for verdict in MARKS}
    tested = sum(d.p is not None for d in c.differences)
    return (
        f"{count['significant']} significant of {tested} tested in {c.a.slices} and {c.b.slices} slices of "
        f"{duration(round(c.slice_s * 1e9))}; {count['untested']} changed without a test; {count['noise']} within the "
        f"noise or under {SMALLEST_CHANGE:.0%}; {count['same']} the same; {count['unknown']} unknown"
    )


def value(d: Difference, v: float | None) -> str:
    """With its unit; `-` where it is unknown."""
    if v is None:
        return "-"
    match d.metric.unit:
        case "ns":
            return duration(round(v))
        case "":
            return f"{100 * v:.3g}%"
        case "bytes":
            return _three(v / 1024) + "KiB"
        case "1/s":
            return _three(v) + "/s"
        case _:
            return _three(v)


def _three(v: float) -> str:
    """Three digits, and a letter for thousands and millions."""
    for letter, size in (("M", 1e6), ("k", 1e4)):
        if v >= size * 0.9995:
            v, size = v / min(size, 1e6 if letter == "M" else 1e3), 0
            return f"{v:.0f}{letter}" if v >= 99.95 else f"{v:.3g}{letter}"
    return f"{v:.0f}" if v >= 99.95 else f"{v:.3g}"


def change(c: float | None) -> str:
    """Of B against A: percent, a factor from ten times on, or a word."""
    if c is None:
        return "-"
    if isinf(c):
        return "new"
    if c == -1:
        return "gone"
    if c == 0:
        return "same"
    if c >= 9:
        return f"x{_three(c + 1)}"
    return f"{100 * c:+.0f}%" if abs(c) >= 0.0995 else f"{100 * c:+.2g}%"


def interval(d: Difference) -> str:
    """Of the change; empty where there is none."""
    if d.ratio_ci is None or d.ratio is None:
        return ""
    return "..".join("" if bound is None else _bound(bound - 1) for bound in d.ratio_ci)


def _bound(c: float) -> str:
    return {-1.0: "-100%", 0.0: "0%"}.get(c) or change(c)


def who(d: Difference) -> str:
    """The process, with its context where that is not the usual one; empty for all together."""
    if d.comm is None:
        return ""
    return printable(d.comm if d.context == "binder" else f"{d.comm} ({d.context})")


def check(c: Check, d: Difference) -> str:
    """What became of a threshold."""
    found = f"{d.metric.name} {value(d, d.a)} -> {value(d, d.b)}, {change(d.change)}"
    words = {"crossed": "crossed", "kept": "kept", "noise": "crossed within the noise, which does not count"}
    return f"{c.expression}: {words[c.outcome]} ({found})"

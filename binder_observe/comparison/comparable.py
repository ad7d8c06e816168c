"""Why two recordings may not be comparable, in sentences."""

from __future__ import annotations

from typing import Final

from binder_observe.comparison.result import Side

SHORT_SLICE_S: Final = 0.05
LONGER: Final = 2.0  # a recording this many times as long as the other is worth a word


def not_comparable(a: Side, b: Side, slice_s: float, *, same: bool) -> tuple[str, ...]:
    """One sentence for each thing that makes the differences mean less; none when nothing does."""
    found = []
    if same:
        found.append("A and B are the same recording")
    if a.source != b.source:
        found.append(f"A is {a.source}, B is {b.source}: differences may come from that alone")
    if a.page_size != b.page_size:
        found.append(
            f"pages have {a.page_size} bytes in A, {b.page_size} in B: a number of pages means another amount of memory"
        )
    if a.filters != b.filters:
        found.append("A and B were recorded with different filters, so they may show different processes")
    short, long = sorted((a, b), key=lambda side: side.duration_s)
    which = "B" if long is b else "A"
    if long.duration_s > LONGER * short.duration_s > 0:
        found.append(
            f"{which} is {long.duration_s / short.duration_s:.3g} times as long: rates can be compared, maxima, "
            f"touched pages and long durations hardly"
        )
    for letter, side in (("A", a), ("B", b)):
        if not side.events:
            found.append(f"{letter} has no binder page event")
        elif not side.duration_s:
            found.append(f"{letter} covers no time, so it has no rates")
        if side.lost_events:
            found.append(f"{letter} lost {side.lost_events} of its events: its counts are too low")
        if side.unexplained:
            found.append(f"{side.unexplained} events of {letter} could not be explained")
        if not side.complete:
            found.append(f"{letter} ended abruptly: its last moments are missing")
    if 0 < slice_s < SHORT_SLICE_S:
        found.append(
            f"a time slice is only {1000 * slice_s:.2g} ms, shorter than many bursts: the confidence is too good; "
            f"record for longer"
        )
    return tuple(found)

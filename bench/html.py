"""The HTML report of a long recording."""

from __future__ import annotations

import os
import sys
from functools import partial
from statistics import median
from typing import Final

from bench.measure import WORK, child, command, in_turn
from bench.results import Result, ratio, row

SCENARIOS: Final = ("memory-pressure", "steady")
EVENTS: Final = 10_000_000
ROUNDS: Final = 3

WHAT: Final = """
`binder-observe report FILE --html`, from the start of the process to its end: reading, drawing, and one page that works
offline.
"""


def run(scale: float) -> Result:
    rows, ratios = [], []
    for scenario in SCENARIOS:
        recording, page = WORK / "html.arrows", WORK / "html.html"
        made = child("reporting.record", str(recording), scenario, round(EVENTS * scale)).figures
        words = [sys.executable, "-m", "binder_observe", "report", str(recording), "--html", str(page), "--force", "-q"]
        found = in_turn(ROUNDS, {scenario: partial(command, words)})[scenario]
        size = os.path.getsize(page) / 1e6
        recording.unlink()
        page.unlink()
        case = f"{scenario}, {made['events'] / 1e6:.1f} M events"
        rows.append(row(case, "report --html", "s of CPU", [r.cpu_s for r in found]))
        rows.append(row(case, "report --html", "s", [r.wall_s for r in found]))
        rows.append(row(case, "report --html", "MB at the peak", [r.peak_bytes / 1e6 for r in found]))
        ratios.append(ratio(f"{scenario}: processor time", median(r.cpu_s for r in found), "≤ 15", "s of CPU"))
        ratios.append(ratio(f"{scenario}: the page", size, "≤ 5", "MB"))
    return Result("html", "HTML report", WHAT, rows, ratios)

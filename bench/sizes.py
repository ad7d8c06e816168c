"""Bytes an event on disk, by scenario."""

from __future__ import annotations

import json
from typing import Final

from bench.measure import child
from bench.results import Ratio, Result, Row, ratio, row

WHAT: Final = """
The size of a recording by the number of its events, for each scenario of the simulator, once with the events that are
probed by default and once with those of `--latency`. A live system's times are less regular than the model's: the sizes
of recordings of a kernel, beside those of trace.dat and perf.data, are with the comparisons inside a guest.
"""


def run(scale: float) -> Result:
    rows: list[Row] = []
    ratios: list[Ratio] = []
    worst = 0.0
    scenarios: list[str] = json.loads(child("sizes.scenarios").output)
    for scenario in scenarios[: max(2, round(len(scenarios) * scale))]:
        for probes, (events, size) in child("sizes.record", scenario).figures.items():
            rows.append(row(f"{scenario}, {events / 1e6:.2f} M events", probes, "bytes an event", [size / events]))
            worst = max(worst, size / events)
    ratios.append(ratio("the largest of all", worst, "≤ 8", "bytes an event"))
    return Result("sizes", "Bytes an event", WHAT, rows, ratios)

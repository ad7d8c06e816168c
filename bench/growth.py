"""Time and memory against the number of events and of processes."""

from __future__ import annotations

from functools import partial
from math import log
from typing import Final

from bench.measure import child, in_turn
from bench.results import Result, ratio, row

EVENTS: Final = (1_000_000, 10_000_000, 100_000_000)
PROCESSES: Final = (10, 1_000, 10_000)
ROUNDS: Final = 2

WHAT: Final = """
Streams made for this, in which each process has one mapping whose pages are all installed, then parked and reused in
turn, so that the number of events and of processes can be chosen apart. *tracker* makes page lives of them, *report* is
all that `binder-observe report` does after reading: lives, stays in a state, totals, and the summary at the end, whose
part is told as well. The slope is the exponent of the growth from the smallest to the largest (1: in proportion).
Memory is that of the whole process, the interpreter and its libraries included.
"""


def slope(x: list[int], y: list[float]) -> float:
    """The exponent of the growth between the first and the last point."""
    return log(y[-1] / y[0]) / log(x[-1] / x[0])


def run(scale: float) -> Result:
    sizes = [(round(e * scale), PROCESSES[0]) for e in EVENTS]
    crowds = [(round(EVENTS[1] * scale), p) for p in PROCESSES]
    rows = []
    seconds: dict[tuple[str, int, int], float] = {}
    peak: dict[tuple[str, int, int], float] = {}
    for events, processes in dict.fromkeys([*sizes, *crowds]):
        case = f"{events:,} events, {processes:,} processes"
        tools = {tool: partial(child, f"growth.{tool}", events, processes) for tool in ("tracker", "report")}
        for tool, runs in in_turn(ROUNDS, tools).items():
            figures = [r.figures for r in runs]
            took = row(case, tool, "s of CPU", [f["cpu_s"] for f in figures])
            memory = row(case, tool, "MB at the peak", [f["peak_bytes"] / 1e6 for f in figures])
            rows += [took, memory]
            if tool == "report":
                rows.append(row(case, "report, the summary in it", "s of CPU", [f["summary_s"] for f in figures]))
            seconds[tool, events, processes], peak[tool, events, processes] = took.value, memory.value
    ratios = []
    for tool in ("tracker", "report"):
        for what, cases, x in (("events", sizes, 0), ("processes", crowds, 1)):
            along = [c[x] for c in cases]
            for figure, found in (("time", seconds), ("memory", peak)):
                y = [found[tool, *c] for c in cases]
                ratios.append(ratio(f"{tool}: {figure} against {what}", slope(along, y), unit="slope"))
    return Result("growth", "Cost against size", WHAT, rows, ratios)

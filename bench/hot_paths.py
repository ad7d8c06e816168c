"""What each hot path costs an event, stage by stage, and what bounds it."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any, Final

from bench.measure import WORK, child, in_turn
from bench.results import Result, ratio, row

SCENARIO: Final = "memory-pressure"
EVENTS: Final = 10_000_000
ROUNDS: Final = 3

WHAT: Final = f"""
Nanoseconds of processor time an event for each stage alone, on one core, on a recording of the scenario `{SCENARIO}`
over and over, read into memory beforehand where reading is not what is measured. A copy and a sum of the columns that
the tracker reads are what a pass over them costs at least: what the memory allows. The regular stream has as many
events, page after page in turn, so that a processor can guess every branch. The profiles come from cProfile, which
makes calls of Python functions dearer than they are.
"""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _functions(profile: dict[str, Any]) -> str:
    return ", ".join(f"`{name}` {_percent(share)}" for name, share in profile["shares"].items())


def run(scale: float) -> Result:
    path = WORK / "hot_paths.arrows"
    made = child("reporting.record", str(path), SCENARIO, round(EVENTS * scale)).figures
    found = [r.figures for r in in_turn(ROUNDS, {"stages": partial(child, "hot_paths.stages", str(path))})["stages"]]
    report = child("hot_paths.report", str(path)).figures
    simulator = child("hot_paths.simulator", "steady").figures
    path.unlink()
    case = f"{SCENARIO}, {made['events'] / 1e6:.1f} M events"
    rows = [row(case, s, "ns an event", [1e9 * f["cpu_s"][s] / f["events"] for f in found]) for s in found[0]["cpu_s"]]
    ns = {r.tool: r.value for r in rows}
    width = found[0]["bytes"] / found[0]["events"]
    bandwidth = median(f["bytes"] / f["cpu_s"]["copy of the columns"] / 1e9 for f in found)
    irregular = ns["tracker"] - ns["tracker, regular stream"]
    ratios = [
        ratio("time of the tracker, against that of a copy of its columns", ns["tracker"] / ns["copy of the columns"]),
        ratio(
            "time of the tracker with spans, against that of a copy of its columns",
            ns["tracker, spans"] / ns["copy of the columns"],
        ),
        ratio(
            "time of the tracker, against its own on a regular stream", ns["tracker"] / ns["tracker, regular stream"]
        ),
        ratio(
            "time of the reader, against that of Arrow and zstd alone",
            ns["reader"] / ns["reader: Arrow and zstd alone"],
        ),
        ratio("time of the writer, against that of zstd alone", ns["writer"] / ns["writer: zstd alone"]),
    ]
    totals = ns["tracker, spans and totals"] - ns["tracker, spans"]
    part = {s: _percent(ns[s] / ns[s.split(":")[0]]) for s in ("reader: Arrow and zstd alone", "writer: zstd alone")}
    checksum = ns["reader, writer: checksum alone"]
    notes = [
        f"Tracker: it reads {width:.0f} bytes an event, which are copied at {bandwidth:.1f} GB/s, in "
        f"{ns['copy of the columns']:.1f} ns; it takes {ns['tracker']:.1f} ns. On the regular stream it takes "
        f"{ns['tracker, regular stream']:.1f} ns: {_percent(max(irregular, 0) / ns['tracker'])} of its time comes from "
        f"the order of events (branches that cannot be foreseen, pages out of the cache), the rest from the work on "
        f"each. Spans add {ns['tracker, spans'] - ns['tracker']:.1f} ns: rows that are written and copied out.",
        f"Totals (histograms of durations, senders, reclaims, mappings that are gone) take {totals:.1f} ns an event, "
        f"the summary at the end {ns['summary'] * made['events'] / 1e9:.2f} s altogether.",
        f"Reader: Arrow and zstd are {part['reader: Arrow and zstd alone']} of it, the checksum "
        f"{_percent(checksum / ns['reader'])}; what is left is validation and Python once a batch. Writer: zstd is "
        f"{part['writer: zstd alone']}, the checksum {_percent(checksum / ns['writer'])}.",
        f"Report, own time by function: {_functions(report)}.",
        f"Simulator: {simulator['calls'] / simulator['events']:.1f} calls of functions an event, so the Python "
        f"interpreter bounds it. Own time by function: {_functions(simulator)}.",
    ]
    return Result("hot_paths", "Hot paths, and what bounds them", WHAT, rows, ratios, notes)

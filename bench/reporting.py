"""Recordings on disk to the JSON report, against DuckDB on the same file, and memory against the file's size."""

from __future__ import annotations

import json
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.measure import WORK, Run, child, command, in_turn
from bench.results import Ratio, Result, Row, ratio, row
from binder_observe.analysis.released import MOST_RELEASED

SCENARIO: Final = "memory-pressure"
SIZES: Final = (1_000_000, 10_000_000, 50_000_000)
ROUNDS: Final = 3
CORES: Final = 2
COUNTS: Final = (
    "mapping_pages", "installs", "duplicate_installs", "refaults", "reuses", "parks", "reclaims", "active", "lru",
    "active_ns", "lru_ns",
)  # fmt: skip

WHAT: Final = f"""
`binder-observe report FILE --json`, from the start of the process to its end, on two cores. DuckDB (two threads) reads
the same file, an Arrow stream that pyarrow decompresses for it, into a table of its own, and counts for each process:
installs, duplicates, refaults, reuses, parks, reclaims, pages by state at the end, page-time in use and on the LRU.
These are checked to be equal; for the report's quantiles, senders, reclaimers and findings DuckDB is not asked. The
recordings are the scenario `{SCENARIO}` over and over. The clock is the one on the wall, because the peer can use both
cores; the processor time is beside it. Each repetition has processes of its own: memory grows with the mappings that
are gone until there are {MOST_RELEASED:,}, which a report tells one by one, and then no more.
"""


def ours(path: Path) -> Run:
    return command([sys.executable, "-m", "binder_observe", "report", str(path), "--json", "--quiet"], cores=CORES)


def check(report: dict[str, Any], peer: list[dict[str, Any]]) -> None:
    """Raises AssertionError where DuckDB counts otherwise."""
    ours: dict[tuple[str, str], Counter[str]] = {}
    for process in report["processes"]:
        # the report tells mappings of one process apart
        counts = ours.setdefault((process["comm"], process["context"]), Counter())
        counts.update({name: process.get(name, process["pages"].get(name)) for name in COUNTS})
    theirs = {(p["comm"], p["context"]): Counter({name: p[name] for name in COUNTS}) for p in peer}
    assert ours == theirs, [(key, ours.get(key), theirs.get(key)) for key in {*ours, *theirs}]


def run(scale: float) -> Result:
    rows: list[Row] = []
    ratios: list[Ratio] = []
    notes = []
    peaks = []
    for size in SIZES:
        path = WORK / "report.arrows"
        made = child("reporting.record", str(path), SCENARIO, round(size * scale)).figures
        case = f"{made['events'] / 1e6:.1f} M events, {made['bytes'] / 1e6:.0f} MB"
        tools = {"binder-observe": partial(ours, path)}
        if size == SIZES[-1]:
            tools["DuckDB"] = partial(child, "reporting.duckdb", str(path), CORES, cores=CORES)
        runs = in_turn(ROUNDS, tools)
        path.unlink()
        for tool, found in runs.items():
            rows.append(row(case, tool, "s", [r.wall_s for r in found]))
            rows.append(row(case, tool, "s of CPU", [r.cpu_s for r in found]))
            rows.append(row(case, tool, "MB at the peak", [r.peak_bytes / 1e6 for r in found]))
        peaks.append(median(r.peak_bytes / 1e6 for r in runs["binder-observe"]))
        if "DuckDB" in runs:
            check(runs["binder-observe"][0].figures, json.loads(runs["DuckDB"][0].output))
            notes.append(f"{case}: DuckDB's counts are those of the report.")
            for clock, figure, goal in (("wall clock", "wall_s", "≥ 10"), ("processor time", "cpu_s", None)):
                theirs, mine = (median(getattr(r, figure) for r in runs[t]) for t in ("DuckDB", "binder-observe"))
                ratios.append(ratio(f"report, against DuckDB, largest file, {clock}", theirs / mine, goal))
    ratios.append(ratio("peak memory, largest file", peaks[-1], "≤ 500", "MB"))
    ratios.append(ratio("peak memory, largest file against smallest", peaks[-1] / peaks[0], "≤ 1.1"))
    return Result("reporting", "Recording to report", WHAT, rows, ratios, notes)

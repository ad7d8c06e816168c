"""Events to lifetimes, one thread, in memory: the tracker, DuckDB, Polars and a plain loop over a dictionary."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from bench.measure import WORK, Run, child, in_turn
from bench.results import Result, ratio, row

CASES: Final = ("steady", "memory-pressure", "churn")
EVENTS: Final = 10_000_000
ROUNDS: Final = 3
ONE_THREAD: Final = {"POLARS_MAX_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
TOOLS: Final[dict[str, tuple[str, tuple[bool, ...]]]] = {
    "tracker": ("tracker", (False,)),
    "tracker, spans": ("tracker", (True,)),
    "DuckDB": ("duckdb", ()),
    "Polars": ("polars", ()),
    "dict loop": ("dict_loop", ()),
}

WHAT: Final = """
The same stream in memory, to one row for each page life: mapping, page, birth, end and how it ended, time in use and
on the LRU, reuses, the process that installed it. The streams are scenarios of the simulator over and over, with the
events that are probed by default and without losses, which is what the peers' queries can take. Every tool has one
thread, and the data in its own form before the clock starts: numpy columns for the tracker, a table of its own for
DuckDB, a frame for Polars, lists of integers for the loop. The peers use window functions over each page's events
(`bench/peers/`). The lives of all are compared row by row. The tracker does more: it counts for each mapping, checks
every transition, follows attempts to install, and with *spans* it also writes each stay in a state and each attempt, as
a live observation does.
"""


def _measure(tool: str, scenario: str, events: int, answer: Path | None = None) -> Run:
    function, arguments = TOOLS[tool]
    path = str(answer) if answer else None
    return child(f"lifetimes.{function}", scenario, events, path, *arguments, env=ONE_THREAD)


def check(scenario: str, events: int) -> int:
    """How many lives all tools found alike. Raises AssertionError when one differs."""
    answers = {tool: WORK / f"lives-{number}.npy" for number, tool in enumerate(TOOLS)}
    for tool, answer in answers.items():
        _measure(tool, scenario, events, answer)
    lives = 0
    for tool, answer in answers.items():
        found = child("lifetimes.same", str(answers["tracker"]), str(answer)).figures
        assert found["same"], f"{tool} finds other lives in {scenario} than the tracker: {found}"
        lives = found["lives"]
    for answer in answers.values():
        answer.unlink()
    return lives


def run(scale: float) -> Result:
    events = round(EVENTS * scale)
    rows, ratios, notes = [], [], []
    for scenario in CASES:
        lives = check(scenario, events)
        notes.append(f"`{scenario}`: all five agree on {lives:,} lives.")
        runs = in_turn(ROUNDS, {tool: partial(_measure, tool, scenario, events) for tool in TOOLS})
        case = f"{scenario}, {runs['tracker'][0].figures['events'] / 1e6:.1f} M events"
        rates = {tool: [r.figures["events"] / r.figures["cpu_s"] / 1e6 for r in found] for tool, found in runs.items()}
        rows += [row(case, tool, "M events a CPU second", found) for tool, found in rates.items()]
        middle = {tool: median(found) for tool, found in rates.items()}
        best = max(("DuckDB", "Polars"), key=middle.__getitem__)
        for tool in ("tracker", "tracker, spans"):
            ratios.append(ratio(f"{scenario}: {tool}, against {best}", middle[tool] / middle[best], "≥ 25"))
            against = middle[tool] / middle["dict loop"]
            ratios.append(ratio(f"{scenario}: {tool}, against the dict loop", against, "≥ 100"))
    return Result("lifetimes", "Events to lifetimes", WHAT, rows, ratios, notes)

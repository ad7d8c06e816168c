"""Events of the simulator a second of processor time, against an earlier version of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from bench.measure import ROOT, WORK, Run, child, command, in_turn
from bench.results import Result, ratio, row

EARLIER: Final = "1f33ed3"  # before anything was done for its speed
ROUNDS: Final = 3

WHAT: Final = f"""
Each scenario from its first event to its last, in memory, on one core, in turn with the version of commit {EARLIER},
same scenario and seed. The columns of all events are compared by digest.
"""


def _simulate(package: Path, scenarios: list[str]) -> Run:
    program = str(ROOT / "bench" / "inside" / "simulate.py")
    return command([sys.executable, program, *scenarios], env={"PYTHONPATH": str(package)}, cores=1)


def earlier() -> Path:
    """The package as it was. Raises CalledProcessError when this clone does not have that commit."""
    tree = WORK / EARLIER
    if not tree.exists():
        tree.mkdir(parents=True)
        archive = subprocess.check_output(["git", "archive", EARLIER, "binder_observe"], cwd=ROOT)
        subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)
    return tree


def run(scale: float) -> Result:
    names: list[str] = json.loads(child("sizes.scenarios").output)
    scenarios = names[: max(2, round(len(names) * scale))]
    versions = {"now": ROOT, EARLIER: earlier()}
    runs = in_turn(ROUNDS, {name: partial(_simulate, tree, scenarios) for name, tree in versions.items()})
    figures = {version: [r.figures for r in found] for version, found in runs.items()}
    rows, rates = [], {}
    for scenario in scenarios:
        for version, found in figures.items():
            rate = [f[scenario]["events"] / f[scenario]["cpu_s"] for f in found]
            rows.append(row(scenario, version, "events a CPU second", rate))
            rates[scenario, version] = median(rate)
    gains = [rates[s, "now"] / rates[s, EARLIER] for s in scenarios]
    now = [f[s]["digest"] for s in scenarios for f in figures["now"]]
    before = [f[s]["digest"] for s in scenarios for f in figures[EARLIER]]
    slowest = min(scenarios, key=lambda s: rates[s, "now"])
    ratios = [
        ratio(f"the slowest scenario, {slowest}", rates[slowest, "now"], "≥ 500000", "events a CPU second"),
        ratio("speed against the earlier version, median of the scenarios", median(gains)),
        ratio("speed against the earlier version, least", min(gains)),
        ratio("speed against the earlier version, most", max(gains)),
    ]
    again = all(len({f[s]["digest"] for f in figures["now"]}) == 1 for s in scenarios)
    notes = [
        f"The same seed gave {'the same' if again else 'OTHER'} bytes in every run, and "
        f"{'the same' if now == before else 'others'} {'as' if now == before else 'than'} the earlier version."
    ]
    return Result("simulator", "Simulator", WHAT, rows, ratios, notes)

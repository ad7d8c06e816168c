"""Recordings of each scenario."""

from __future__ import annotations

import os
from typing import Any

from bench import streams
from bench.measure import WORK
from binder_observe.simulator.scenarios import scenario_names


def scenarios() -> list[str]:
    return list(scenario_names())


def record(scenario: str) -> dict[str, Any]:
    """One run of the scenario, with what is probed by default and with every tracepoint of `--latency`."""
    path = WORK / "sizes.arrows"
    found = {}
    for probes, batches in (("default", streams.repeated(scenario, 1)), ("--latency", streams.whole(scenario))):
        rows = streams.record(path, batches)
        found[probes] = [rows, os.path.getsize(path)]
        path.unlink()
    return found

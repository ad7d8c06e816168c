"""Recordings for the report, and DuckDB's answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bench import streams
from bench.peers import with_duckdb


def record(path: str, scenario: str, events: int) -> dict[str, Any]:
    """Writes a recording of a repeated scenario."""
    rows = streams.record(Path(path), streams.repeated(scenario, events))
    return {"bytes": os.path.getsize(path), "events": rows}


def duckdb(path: str, threads: int) -> list[dict[str, Any]]:
    return with_duckdb.report(path, threads)

"""The comparison as JSON: a public format, described by `comparison.schema.json`."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import IO, Any

from binder_observe.comparison.result import Comparison


def write(comparison: Comparison, file: IO[str]) -> None:
    file.write(text(comparison))


def text(comparison: Comparison) -> str:
    return json.dumps(comparison.to_dict(), indent=2, allow_nan=False) + "\n"


def schema() -> dict[str, Any]:
    """The JSON Schema of the JSON comparison."""
    found: dict[str, Any] = json.loads(
        files("binder_observe.reports.comparison").joinpath("comparison.schema.json").read_text()
    )
    return found

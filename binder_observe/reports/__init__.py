"""Writers: one a format, each takes a finished `Report`."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def report_schema() -> dict[str, Any]:
    """The JSON Schema of the JSON report."""
    schema: dict[str, Any] = json.loads(files(__name__).joinpath("report.schema.json").read_text())
    return schema

"""The report as JSON: a public format, described by `report.schema.json`."""

from __future__ import annotations

import json
from typing import IO

from binder_observe.analysis.summary import Report


def write(report: Report, file: IO[str]) -> None:
    json.dump(report.to_dict(), file, indent=2)
    file.write("\n")

"""Results of a comparison, as kept in `bench/results/NAME.json`.

`{"name", "what", "machine": {...}, "rows": [{"case", "tool", "value", "unit", "runs"}],
"ratios": [{"what", "value", "unit", "goal", "met"}], "notes": [...]}`
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Final

DIRECTORY: Final = Path(__file__).parent / "results"
PACKAGES: Final = ("binder-observe", "numpy", "numba", "pyarrow", "duckdb", "polars")


@dataclass(frozen=True, slots=True)
class Row:
    """What a tool took in a case: `value` is the median of `runs`, in `unit`."""

    case: str
    tool: str
    value: float
    unit: str
    runs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """What is held against a goal: a ratio of two rows (unit "x"), or a figure in its own unit.

    `goal` is "≥ NUMBER" or "≤ NUMBER", or None where there is none; `met` says whether it was reached.
    """

    what: str
    value: float
    unit: str = "x"
    goal: str | None = None
    met: bool | None = None


def row(case: str, tool: str, unit: str, runs: Iterable[float]) -> Row:
    """A row from the figures of repeated runs."""
    figures = tuple(runs)
    return Row(case, tool, median(figures), unit, figures)


def ratio(what: str, value: float, goal: str | None = None, unit: str = "x") -> Ratio:
    """A ratio, held against its goal."""
    if goal is None:
        return Ratio(what, value, unit)
    sign, number = goal.split()
    met = {"≥": value >= float(number), "≤": value <= float(number)}[sign]
    return Ratio(what, value, unit, goal, met)


def machine() -> dict[str, str]:
    """What the figures came from: processor, cores, memory, and the versions of what was compared."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = {
        "cpu": cpu[0].split(":", 1)[1].strip() if cpu else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class Result:
    """One comparison. `what` says in a paragraph what is compared and how; `notes` are sentences on what came out.

    Text is Markdown. No figure stands in `what`; one in `notes` is put there by the run that measured it.
    """

    name: str
    title: str
    what: str
    rows: Sequence[Row]
    ratios: Sequence[Ratio]
    notes: Sequence[str] = ()
    machine: dict[str, str] = field(default_factory=machine)

    def write(self, directory: Path = DIRECTORY) -> Path:
        directory.mkdir(exist_ok=True)
        path = directory / f"{self.name}.json"
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
        return path


def load(path: Path) -> Result:
    """Raises ValueError, TypeError or KeyError when the file holds something else."""
    found = json.loads(path.read_text())
    rows = [Row(**{**r, "runs": tuple(r["runs"])}) for r in found.pop("rows")]
    ratios = [Ratio(**r) for r in found.pop("ratios")]
    return Result(**found, rows=rows, ratios=ratios)

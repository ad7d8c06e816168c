"""`python -m bench.report`: docs/performance.md and its pictures, from the results that are kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import jinja2

from bench.measure import ROOT
from bench.pictures import PICTURES
from bench.results import DIRECTORY, Result, Row, load

PAGE: Final = ROOT / "docs" / "performance.md"
DRAWN: Final = PAGE.parent / "performance"
ORDER: Final = ("lifetimes", "reporting", "html", "sizes", "start", "simulator", "growth", "hot_paths")


def results(directory: Path = DIRECTORY) -> list[Result]:
    """All that are kept, in the order of ORDER, others behind them."""
    found = [load(path) for path in sorted(directory.glob("*.json"))]
    return sorted(found, key=lambda r: (ORDER.index(r.name) if r.name in ORDER else len(ORDER), r.name))


def figure(value: float) -> str:
    """Three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:#.3g}".removesuffix(".")


def _spread(row: Row) -> str:
    if len(row.runs) < 2:
        return ""
    return f"{figure(min(row.runs))} to {figure(max(row.runs))}"


def _goal(goal: str) -> str:
    sign, number = goal.split()
    return f"{sign} {float(number):,.10g}"


def _machine(machine: Mapping[str, str]) -> str:
    hardware = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory']}, Linux {machine['kernel']}"
    rest = [f"{name} {value}" for name, value in machine.items() if name not in ("cpu", "cores", "memory", "kernel")]
    return f"{hardware}; {', '.join(rest)}"


def _pictures(result: Result) -> list[Path]:
    return [DRAWN / f"{result.name}.svg"] if result.name in PICTURES else []


def page(found: Iterable[Result]) -> str:
    """docs/performance.md."""
    environment = jinja2.Environment(keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters.update(
        figure=figure, spread=_spread, goal=_goal, machine=_machine, pictures=_pictures,
        anchor=lambda title: "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-"),
        unit=lambda unit: "×" if unit == "x" else unit,  # noqa: RUF001
    )  # fmt: skip
    template = environment.from_string((Path(__file__).parent / "performance.md.j2").read_text())
    return template.render(results=list(found)).rstrip() + "\n"


def main() -> None:
    found = results()
    PAGE.write_text(page(found))
    DRAWN.mkdir(exist_ok=True)
    for result in found:
        if result.name in PICTURES:
            PICTURES[result.name](result, DRAWN / f"{result.name}.svg")
    print(os.path.relpath(PAGE))


if __name__ == "__main__":
    main()

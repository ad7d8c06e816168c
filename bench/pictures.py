"""Pictures of results, as SVG."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _save(figure: Figure, path: Path) -> None:
    """Text stays text, and the same figures give the same file."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "bench"}):
        figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")


def _figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    return figure, figure.subplots(rows, columns, squeeze=False)


def lifetimes(result: Result, path: Path) -> None:
    """Rates by tool, a panel for each stream."""
    cases = list(dict.fromkeys(row.case for row in result.rows))
    figure, axes = _figure(9, 2.4, len(cases))
    for ax, case in zip(axes[0], cases, strict=True):
        rows = [row for row in result.rows if row.case == case][::-1]
        ax.barh([row.tool for row in rows], [row.value for row in rows], color="#4477aa")
        for number, row in enumerate(rows):
            ax.text(row.value, number, f" {row.value:.3g}", va="center", fontsize=8)
        ax.set_xscale("log")
        ax.set_xlim(1, 4 * max(row.value for row in rows))
        ax.set_title(case, fontsize=9)
        ax.set_xlabel("million events a CPU second", fontsize=8)
        ax.tick_params(labelsize=8)
        ax.minorticks_off()
        if ax is not axes[0][0]:
            ax.set_yticklabels([])
    _save(figure, path)


def growth(result: Result, path: Path) -> None:
    """Time and memory against events and against processes, with the slope of each line on logarithmic axes."""
    points: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
    for row in result.rows:
        events, processes = (int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d", row.case))
        points.setdefault((row.tool, row.unit), []).append((events, processes, row.value))
    slopes = {r.what: r.value for r in result.ratios}
    figure, axes = _figure(8, 6, 2, 2)
    for up, (unit, what) in enumerate((("s of CPU", "time"), ("MB at the peak", "memory"))):
        for across, (name, label) in enumerate((("events", "events"), ("processes", "processes"))):
            ax = axes[up][across]
            for tool, colour in (("tracker", "#4477aa"), ("report", "#ee6677")):
                found = points[tool, unit]
                fixed = min(p[1 - across] for p in found) if across == 0 else _common(found)
                line = sorted((p[across], p[2]) for p in found if p[1 - across] == fixed)
                slope = slopes[f"{tool}: {what} against {name}"]
                ax.plot(*zip(*line, strict=True), "o-", color=colour, label=f"{tool}, slope {slope:.2f}")
            ax.set_xscale("log")
            if what == "time":
                ax.set_yscale("log")
            else:  # it grows by less than a decade, where a logarithmic axis has no label
                ax.set_ylim(0, 1.3 * ax.get_ylim()[1])
            ax.set_xlabel(label)
            ax.set_ylabel(unit)
            ax.grid(visible=True, alpha=0.3)
            ax.minorticks_off()
            ax.legend(fontsize=8)
            fixed_name = "processes" if across == 0 else "events"
            ax.set_title(f"{fixed:,} {fixed_name}", fontsize=9)
    _save(figure, path)


def _common(points: list[tuple[int, int, float]]) -> int:
    """The number of events at which several numbers of processes were tried."""
    events = [p[0] for p in points]
    return max(events, key=events.count)


PICTURES: Final[Mapping[str, Callable[[Result, Path], None]]] = {"lifetimes": lifetimes, "growth": growth}

"""Changes with their intervals, one under the other."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from binder_observe.analysis.names import printable
from binder_observe.plots.style import GREY, SERIES, canvas, grid, heading, no_data, text_colour
from binder_observe.reports.comparison.words import change

MOST_ROWS: Final = 15
_TICKS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 1, 1.1, 1.25, 2, 5, 10, 20, 50, 100)


def plot_comparison(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The first rows of `Comparison.frame()` that have an interval: the ratio B / A on a log scale, significant ones in
    colour. Bounds that are not reached, or beyond a hundred times, leave the plot."""
    rows = frame[frame["ratio"].notna() & (frame["ratio"] > 0) & frame["ratio_low"].notna()].head(MOST_ROWS)
    ax = canvas(ax, 1.0 + 0.26 * max(len(rows), 3))
    if rows.empty:
        return no_data(ax, "no difference has an interval")
    numbers = rows[["ratio_low", "ratio", "ratio_high"]].to_numpy(dtype=float, na_value=np.inf)
    low_ci, ratio, high_ci = numbers.clip(0.01, 100).T
    colours = np.where(rows["verdict"] == "significant", SERIES[0], GREY)
    places = np.arange(len(rows))
    ax.hlines(places, low_ci, high_ci, color=colours, linewidth=2)
    ax.scatter(ratio, places, color=colours, s=22, zorder=3)
    ax.axvline(1, color=text_colour(), linewidth=0.8)
    ax.set_xscale("log")
    low, high = min(0.9, low_ci.min()) / 1.03, max(1.1, high_ci.max()) * 1.03
    ax.set_xlim(low, high)
    ax.xaxis.set_major_locator(FixedLocator(_apart([t for t in _TICKS if low <= t <= high], low, high)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: change(ratio - 1)))
    ax.set_xlabel("change of B against A (log scale), 95 % interval")
    ax.set_yticks(places, [_label(row) for row in rows.itertuples(index=False)])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    grid(ax, "x")
    heading(ax, frame, "Largest differences")
    return ax


def _apart(ticks: list[float], low: float, high: float) -> list[float]:
    """As many of the ticks as have room for their text, "same" first."""
    kept = [1.0]
    for tick in sorted(ticks, key=lambda t: -abs(np.log(t))):
        if all(abs(np.log(tick / other)) > 0.11 * np.log(high / low) for other in kept):
            kept.append(tick)
    return sorted(kept)


def _label(row: object) -> str:
    metric, comm, context = (getattr(row, c) for c in ("metric", "comm", "context"))
    if pd.isna(comm):
        return str(metric)
    name = printable(comm if context == "binder" else f"{comm} ({context})").replace("$", r"\$")
    return f"{metric}, {name}"

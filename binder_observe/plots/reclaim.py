"""What the shrinker took, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from binder_observe.plots import style
from binder_observe.plots.legend import Legend
from binder_observe.plots.steps import POINTS, decimate, floats

COLOURS = {"kswapd": style.SERIES[0], "direct": style.SERIES[1], "other": style.SERIES[3], "mixed": style.SERIES[2]}


def plot_reclaims(frame: pd.DataFrame, ax: Axes | None = None, *, origin_ns: int | None = None) -> Axes:
    """Reclaim over time by how it came about. From `df_reclaim_bursts`: one stem a burst, as high as the pages that it
    took. From `df_reclaims`: the pages taken so far. 0 s is at `origin_ns`, or at the first row."""
    ax = style.canvas(ax)
    bursts = "begin_ns" in frame.columns
    style.heading(ax, frame, "Reclaim bursts" if bursts else "Pages reclaimed")
    if frame.empty:
        return style.no_data(ax, "no page was reclaimed")
    since = frame["begin_ns" if bursts else "ts_ns"]
    x = style.seconds(since, int(since.min()) if origin_ns is None else origin_ns)
    how = frame["how"].astype(object)
    kinds = [kind for kind in COLOURS if (how == kind).any()]
    legend = Legend("reclaim by")
    for kind in kinds:
        at = np.flatnonzero(how == kind)
        at = at[np.argsort(x[at], kind="stable")]
        pages = floats(frame["pages"])[at] if bursts else np.arange(1.0, len(at) + 1)
        draw = _stems if bursts else _so_far
        mark = draw(ax, x[at], pages, POINTS // len(kinds), COLOURS[kind], x.max())
        legend.add(mark, f"{kind}, {len(at):,} {'burst' if bursts else 'page'}{'s' if len(at) > 1 else ''}")
    style.time_axis(ax)
    style.count_axis(ax.yaxis, "pages in one burst" if bursts else "pages reclaimed so far")
    end = x.max() or 1.0
    ax.set_xlim(-0.02 * end, 1.02 * end)
    style.grid(ax)
    legend.draw(ax)
    return ax


def _stems(ax: Axes, x: Any, pages: Any, points: int, colour: str, _end: float) -> Any:
    at = decimate(x, pages, points // 4)  # a stem and its head are four times as much to write as a point of a line
    ax.vlines(x[at], 0, pages[at], colors=colour, linewidth=1.2)
    (heads,) = ax.plot(x[at], pages[at], linestyle="none", marker="o", markersize=3.5, color=colour)
    return heads


def _so_far(ax: Axes, x: Any, pages: Any, points: int, colour: str, end: float) -> Any:
    x, pages = np.concatenate([x[:1], x, [end]]), np.concatenate([[0.0], pages, pages[-1:]])
    at = decimate(x, pages, points)
    (line,) = ax.plot(x[at], pages[at], drawstyle="steps-post", linewidth=1.5, color=colour)
    return line

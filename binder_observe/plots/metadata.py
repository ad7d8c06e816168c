"""What the allocator spends on its own bookkeeping."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from binder_observe.plots import style
from binder_observe.plots.legend import Legend
from binder_observe.plots.steps import POINTS, decimate, floats

LINES = (
    ("before_bytes", "arrays (before 6.14)", style.series_style(1)),
    ("after_bytes", "page->private (since 6.14)", style.series_style(0)),
)


def plot_metadata(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Bytes of shrinker metadata over time, before and after the patch, from `df_metadata`."""
    ax = style.canvas(ax)
    style.heading(ax, frame, "Allocator metadata")
    if not frame[[column for column, *_ in LINES]].any(axis=None):
        return style.no_data(ax, "no mapping was seen")
    x = floats(frame["ts_s"])
    legend = Legend()
    for column, label, looks in LINES:
        kib = floats(frame[column]) / 1024
        at = decimate(x, kib, POINTS // len(LINES))
        (line,) = ax.plot(x[at], kib[at], drawstyle="steps-post", linewidth=1.5, **looks)
        legend.add(line, label)
    style.time_axis(ax)
    ax.set_ylabel("metadata (KiB)")
    ax.ticklabel_format(axis="y", style="plain", useOffset=False)
    ax.set_ylim(bottom=0)
    ax.margins(x=0)
    style.grid(ax)
    legend.draw(ax)
    return ax

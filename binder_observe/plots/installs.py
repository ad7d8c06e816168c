"""How long installs take."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from binder_observe.plots import style
from binder_observe.plots.legend import Legend
from binder_observe.plots.steps import POINTS, decimate, floats


def plot_install_latency(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The share of installs that took at most so long (empirical distribution), from `df_installs`: during reclaim
    against otherwise. Attempts without a latency (failed, in flight, beginning not seen) are left out, and counted in
    the legend."""
    ax = style.canvas(ax)
    style.heading(ax, frame, "Install latency")
    latency = floats(frame["latency_ns"]) / 1e9
    known = ~np.isnan(latency)
    if not known.any():
        return style.no_data(ax, "no install was seen from beginning to end")
    style.duration_axis(ax, "latency of an install", latency[known])
    during = frame["during_reclaim"].to_numpy(dtype=np.bool_, na_value=False)
    legend = Legend()
    for name, rows, looks in (
        ("otherwise", ~during, {"color": style.SERIES[0]}),
        ("during reclaim", during, {"color": style.SERIES[1], "linestyle": "--"}),
    ):
        x = np.maximum(np.sort(latency[rows & known]), ax.get_xlim()[0])
        if len(x):
            share = np.arange(1, len(x) + 1) / len(x)
            at = decimate(np.log(x), share, POINTS // 2)
            x, share = np.append(x[0], x[at]), np.append(0.0, share[at])
            (line,) = ax.plot(x, share, drawstyle="steps-post", linewidth=1.5, **looks)  # type: ignore[arg-type]
            legend.add(line, f"{name}, n = {(rows & known).sum():,}")
    if left_out := int((~known).sum()):
        legend.note(f"{left_out:,} without a latency")
    style.share_axis(ax.yaxis, "share of installs")
    ax.set_ylim(0, 1.02)
    style.grid(ax)
    legend.draw(ax)
    return ax

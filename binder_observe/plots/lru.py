"""What became of pages that lay idle on the LRU."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from binder_observe.plots import names, style
from binder_observe.plots.lanes import beside, lanes, stacked, with_rest
from binder_observe.plots.steps import floats

LOOKS = {
    "reused": {"facecolor": style.SERIES[2]},
    "reclaimed": {"facecolor": style.SERIES[1]},
    "released": {"facecolor": style.SERIES[3]},
    "still idle": {"facecolor": style.STATE_COLOURS["lru"], "hatch": style.HATCH},
    "lost": {"facecolor": style.GREY, "hatch": style.HATCH},
}


def plot_lru(frame: pd.DataFrame, ax: Axes | None = None, *, largest: int = style.LANES) -> Axes:
    """How idle spans on the LRU ended, from `df_lru_efficiency`: shares for each mapping, their number beside them.
    Hatched spans are censored: they go on, or their end was lost. Largest by
    idle spans, the rest together as others."""
    ends = frame[["reused", "reclaimed", "released", "still_idle", "lost"]].astype("float64")
    ends = ends.rename(columns={"still_idle": "still idle"})
    spans = ends.sum(axis=1)
    ends, spans = ends[spans > 0], spans[spans > 0]
    ax = style.canvas(ax, style.lanes_height(len(ends)))
    style.heading(ax, frame, "How idle spans on the LRU ended")
    if ends.empty:
        return style.no_data(ax, "no page lay on the LRU")
    shown, rest = style.largest(spans, largest)
    named = names.processes(frame)
    labels = [named[frame.at[i, "alloc"]] for i in shown]
    drawn = with_rest(ends, shown, rest)
    n = floats(drawn.sum(axis=1))
    stacked(ax, {name: floats(drawn[name]) / n for name in LOOKS}, LOOKS).draw(ax)
    lanes(ax, labels, others=len(rest))
    style.share_axis(ax.xaxis, "share of idle spans")
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
    beside(ax, np.ones(len(n)).tolist(), [f"n = {count:,.0f}" for count in n])
    return ax

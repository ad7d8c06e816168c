"""Lives of pages, by their length."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from binder_observe.plots import names, style
from binder_observe.plots.lanes import lanes
from binder_observe.plots.legend import Legend
from binder_observe.plots.steps import floats

COLUMNS = 120  # of the strip; one life alone is a tick of this width
CENSORED = ("alive", "lost")
LOOKS = {
    "ended": {"facecolor": style.SERIES[0]},
    "censored: alive or lost": {"facecolor": style.SERIES[1], "hatch": style.HATCH},
}


def plot_lifetimes(frame: pd.DataFrame, ax: Axes | None = None, *, largest: int = style.LANES) -> Axes:
    """Lives by their length, from `df_lifetimes`: a strip a mapping, as high at each length as there are lives of it;
    upwards those that ended, downwards and hatched those that were censored (they last at least that long). Lives of
    unknown birth have no length: they are left out, and counted. Largest mappings by lives, the rest together as
    others."""
    duration = floats(frame["duration_ns"]) / 1e9
    known = ~np.isnan(duration)
    sizes = frame["alloc"][known].value_counts(sort=False)
    ax = style.canvas(ax, style.lanes_height(len(sizes), 0.36))
    style.heading(ax, frame, "Lifetimes of pages")
    if not known.any():
        return style.no_data(ax, "no life of known birth")
    style.duration_axis(ax, "lifetime", duration[known])
    shown, rest = style.largest(sizes, largest)
    named = names.processes(frame)
    place = {alloc: lane for lane, alloc in enumerate(shown)}
    lane = frame["alloc"].map(place).fillna(len(shown)).to_numpy(dtype=np.int64)
    censored = frame["ended"].isin(CENSORED).to_numpy()
    edges = np.geomspace(*ax.get_xlim(), COLUMNS + 1)
    x = np.clip(duration, edges[0], edges[-1])
    for i in range(len(shown) + bool(rest)):
        mine = known & (lane == i)
        heights = [np.histogram(x[mine & rows], edges)[0] for rows in (~censored, censored)]
        scale = 0.45 / max(height.max() for height in heights)
        for height, up, look in zip(heights, (-1, 1), LOOKS.values(), strict=True):  # lanes count downwards
            if height.any():
                ax.stairs(i + up * scale * height, edges, baseline=i, fill=True, **style.area(look))
    legend = Legend()
    for name, look in LOOKS.items():
        legend.add_area(look, name)
    if left_out := int((~known).sum()):
        legend.note(f"{left_out:,} of unknown birth not shown")
    lanes(ax, [f"{named[alloc]} (n = {sizes[alloc]:,})" for alloc in shown], others=len(rest))
    legend.draw(ax)
    return ax

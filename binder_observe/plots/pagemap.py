"""The page map: page index against time, coloured by state."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from binder_observe.plots import style
from binder_observe.plots.legend import Legend
from binder_observe.rows import State

NOT_MAPPED = 255


def plot_page_map(
    page_map: tuple[NDArray[np.int64], NDArray[np.uint8]],
    ax: Axes | None = None,
    *,
    origin_ns: int | None = None,
    source: str = "live",
) -> Axes:
    """The state of each page over time, from `page_map`: nothing is drawn where the page was not mapped, grey where its
    state was not known. 0 s is at `origin_ns`, or at the first edge; `source` other than "live" stands in the title."""
    edges_ns, states = page_map
    ax = style.canvas(ax)
    style.heading(ax, source, "Page map")
    if not states.size or (states == NOT_MAPPED).all():
        return style.no_data(ax, "no page was mapped")
    origin = int(edges_ns[0]) if origin_ns is None else origin_ns
    left, right = style.seconds(edges_ns[[0, -1]], origin)
    order = sorted(State)
    colours = [style.STATE_COLOURS[state.name.lower()] for state in order]
    ax.imshow(
        np.ma.masked_equal(states, NOT_MAPPED),
        cmap=ListedColormap(colours),
        norm=BoundaryNorm([state - 0.5 for state in (*order, len(order))], len(order)),
        extent=(left, right, -0.5, len(states) - 0.5),
        aspect="auto", origin="lower", interpolation="none",
    )  # fmt: skip
    ax.set_ylabel("page index (pages)")
    ax.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    style.time_axis(ax)
    ax.spines[["top", "right"]].set_visible(False)
    present = [state for state in (State.ACTIVE, State.LRU, State.UNKNOWN, State.FREE) if (states == state).any()]
    legend = Legend()
    for state in present:
        name = state.name.lower()
        legend.add_area({"facecolor": style.STATE_COLOURS[name]}, style.STATE_NAMES[name])
    if (states == NOT_MAPPED).any():
        legend.note("blank: not mapped")
    legend.draw(ax)
    return ax

"""Pages that are suspected to be leaked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from binder_observe.plots import names, style
from binder_observe.plots.lanes import lanes
from binder_observe.plots.legend import Legend
from binder_observe.plots.steps import floats

MARKS = 1500  # an SVG has about 130 bytes for each


def plot_leaks(frame: pd.DataFrame, ax: Axes | None = None, *, largest: int = style.LANES) -> Axes:
    """Suspected pages by how long they have been active, from `df_leaks`: one arrow a page (it goes on, so its age is
    censored), coloured by the sender that installed it, against the norm of its process. Largest mappings by pages, the
    rest in one lane."""
    sizes = frame["alloc"].value_counts(sort=False)
    ax = style.canvas(ax, style.lanes_height(len(sizes)))
    style.heading(ax, frame, "Pages suspected to be leaked")
    if frame.empty:
        return style.no_data(ax, "no page is suspected")
    shown, rest = style.largest(sizes, largest)
    named = names.processes(frame)
    place = {alloc: lane for lane, alloc in enumerate(shown)}
    lane = frame["alloc"].map(place).fillna(len(shown)).to_numpy(dtype=np.float64)
    age, norm = floats(frame["active_ns"]) / 1e9, floats(frame["norm_ns"]) / 1e9
    style.duration_axis(ax, "active for", np.concatenate([age, norm]))
    legend = Legend("still active, sent by")
    _arrows(ax, frame, age, lane, legend)
    if not frame["start_known"].all():
        legend.note("hollow: active before it was seen")
    norms = ~np.isnan(norm) & (lane < len(shown))
    ticks = pd.DataFrame({"x": norm[norms], "y": lane[norms]}).drop_duplicates()
    tick = {"linestyle": "none", "marker": "|", "markersize": 14, "color": style.text_colour()}
    (norm_ticks,) = ax.plot(ticks["x"], ticks["y"], **tick)
    legend.add(norm_ticks, "norm: p99 of active spans")
    if len(frame) > MARKS:
        legend.note(f"{len(frame) - MARKS:,} younger pages not shown")
    lanes(ax, [f"{named[alloc]} (n = {sizes[alloc]:,})" for alloc in shown], others=len(rest))
    legend.draw(ax)
    return ax


def _arrows(ax: Axes, frame: pd.DataFrame, age: Any, lane: Any, legend: Legend) -> None:
    order = np.argsort(-age, kind="stable")[:MARKS]
    sender = pd.Series(
        [names.task(pid, comm) for pid, comm in zip(frame["sender_pid"], frame["sender_comm"], strict=True)]
    )
    shown, rest = style.largest(sender.value_counts(), len(style.SERIES))
    # pages of one age would hide each other: they are spread over the lane
    y = lane + ((frame["page"].to_numpy(dtype=np.int64) * 7) % 11 - 5) / 16
    groups = [(str(name), sender == name, shade) for name, shade in zip(shown, style.SERIES, strict=False)]
    if rest:
        groups.append((f"{len(rest)} others", sender.isin(rest), style.GREY))
    for name, rows, shade in groups:
        at = order[rows.to_numpy()[order]]
        for known, fill in ((True, shade), (False, "none")):
            some = at[frame["start_known"].to_numpy()[at] == known]
            look: dict[str, Any] = {"marker": style.GOES_ON, "color": shade, "markerfacecolor": fill}
            (arrows,) = ax.plot(age[some], y[some], linestyle="none", markersize=5, alpha=0.8, **look)
            if known:
                legend.add(arrows, name)

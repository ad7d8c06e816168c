"""Touched pages against the high watermark."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from binder_observe.plots import names, style
from binder_observe.plots.lanes import beside, lanes
from binder_observe.plots.legend import Legend
from binder_observe.plots.steps import floats

HOLE: Final = {"facecolor": style.STATE_COLOURS["free"]}
TOUCHED: Final = {"facecolor": style.SERIES[0]}
MEAN: Final[dict[str, Any]] = {"marker": "|", "markersize": 11, "color": style.SERIES[1]}
AT_END: Final[dict[str, Any]] = {"marker": "D", "markersize": 4, "color": style.SERIES[1]}


def plot_fragmentation(frame: pd.DataFrame, ax: Axes | None = None, *, largest: int = style.LANES) -> Axes:
    """Pages of each mapping, from `df_fragmentation`: up to the high watermark, those of them that were ever touched,
    and those held at the end and on the mean. Largest mappings by high watermark; others are left out, and counted."""
    reached = frame[frame["high_watermark"].fillna(0) > 0]
    ax = style.canvas(ax, style.lanes_height(len(reached)))
    style.heading(ax, frame, "Pages touched, up to the high watermark")
    if reached.empty:
        return style.no_data(ax, "no page was touched")
    shown, rest = style.largest(reached["high_watermark"], largest)
    named = names.processes(frame)
    drawn = reached.loc[shown]
    lane = np.arange(len(drawn))
    legend = Legend()
    for column, text, look in (("high_watermark", "hole: never touched", HOLE), ("touched", "touched", TOUCHED)):
        ax.barh(lane, floats(drawn[column]), height=0.7, **style.area(look))
        legend.add_area(look, text)
    for column, text, mark in (("mean_held", "held, mean over time", MEAN), ("held_end", "held at the end", AT_END)):
        (points,) = ax.plot(floats(drawn[column]), lane, linestyle="none", markeredgewidth=1.5, **mark)
        legend.add(points, text)
    if rest:
        legend.note(f"{len(rest)} others not shown")
    lanes(ax, [named[alloc] for alloc in drawn["alloc"]])
    style.count_axis(ax.xaxis, "pages")
    beside(ax, floats(drawn["high_watermark"]).tolist(), _use(drawn))
    legend.draw(ax)
    return ax


def _use(drawn: pd.DataFrame) -> list[str]:
    """At least so much, where pages may have been touched unseen."""
    least = np.where(drawn["observed_from_birth"] | (drawn["hole_pages"] == 0), "", "≥ ")
    return [f"{sign}{100 * use:.0f} % used" for sign, use in zip(least, floats(drawn["use"]), strict=True)]

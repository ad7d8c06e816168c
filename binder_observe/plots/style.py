"""How every plot looks: colours, units on axes, empty frames, and how many processes are drawn.

Colours are those of Okabe and Ito (2008), which colour-blind people can tell apart. Text, ticks, spines, grid and
hatches take matplotlib's own text colour, and nothing paints a background, so that plots work on light and dark
pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

GREY: Final = "#8C8C8C"  # of the rest, and of what is not known
HATCH: Final = "////"  # not known, or censored: lasts longer than was seen
STATE_COLOURS: Final = {"active": "#D55E00", "lru": "#56B4E9", "free": "#8080802E", "unknown": GREY}
STATE_LOOKS: Final = {
    "active": {"facecolor": STATE_COLOURS["active"]},
    "lru": {"facecolor": STATE_COLOURS["lru"]},
    "free": {"facecolor": STATE_COLOURS["free"]},
    "unknown": {"facecolor": STATE_COLOURS["unknown"], "hatch": HATCH},
}
STATE_NAMES: Final = {"active": "active", "lru": "lru (idle)", "free": "free", "unknown": "unknown"}
SERIES: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")  # of processes and kinds: none is that of a state
DASHES: Final = ("-", "--")

LINES: Final = 8  # lines in one plot at most
LANES: Final = 12  # rows of bars in one plot at most
DWARFS: Final = 3.0  # others together are named but not drawn when they are so much more than the largest alone
GOES_ON: Final = ">"  # marker: lasts longer than was seen


def text_colour() -> Any:
    """The colour of text where the plot is drawn."""
    return mpl.rcParams["text.color"]


def series_style(i: int) -> dict[str, Any]:
    """Colour and dashes of the i-th line."""
    return {"color": SERIES[i % len(SERIES)], "linestyle": DASHES[i // len(SERIES) % len(DASHES)]}


def canvas(ax: Axes | None, height: float = 3.2) -> Axes:
    """`ax` as it is, or that of a new pyplot figure of `height` inches."""
    if ax is None:
        import matplotlib.pyplot as plt  # only here: a plot into a given Axes leaves pyplot alone

        _, ax = plt.subplots(figsize=(7.5, height), layout="constrained")
    ax.patch.set_alpha(0)
    return ax


def lanes_height(lanes: int, inches: float = 0.27) -> float:
    """The height of a plot with so many rows of bars, each of so many inches."""
    return 1.2 + inches * max(min(lanes, LANES), 3)


def heading(ax: Axes, data: pd.DataFrame | str, title: str) -> None:
    """A short title, marked when the data was not seen live: the source, or a frame whose `attrs["source"]` says it."""
    source = data if isinstance(data, str) else str(data.attrs.get("source", "live"))
    ax.set_title(title if source == "live" else f"{source.upper()}: {title}", loc="left")


def no_data(ax: Axes, why: str) -> Axes:
    """Says so in words where a plot would be."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, f"no data: {why}", ha="center", va="center", transform=ax.transAxes)
    return ax


def grid(ax: Axes, axis: str = "both") -> None:
    """Faint lines behind the data; no box round it."""
    ax.grid(True, axis=axis, color=text_colour(), alpha=0.15, linewidth=0.6)  # type: ignore[arg-type]
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def area(look: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of a filled area without an outline; its hatches are drawn in the colour of edges."""
    return {"linewidth": 0, **look, **({"edgecolor": text_colour()} if "hatch" in look else {})}


def largest(weights: pd.Series[Any], most: int) -> tuple[list[Any], list[Any]]:
    """The keys (index) of the greatest weights, greatest first, and the rest. When there are more than `most`, one
    less than that is shown, which leaves room for the rest."""
    order = list(weights.sort_values(ascending=False, kind="stable").index)
    shown = most if len(order) <= most else most - 1
    return order[:shown], order[shown:]


def dwarfs(others: float, largest_one: float) -> bool:
    """Whether others would leave no room to see the largest."""
    return others > DWARFS * largest_one


def seconds(ns: Any, origin_ns: int = 0) -> NDArray[np.float64]:
    """Seconds since `origin_ns`; NaN for NA. Subtracted as integers: ns since boot do not fit a float."""
    column = pd.Series(ns) - origin_ns
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan) / 1e9)


def time_axis(ax: Axes) -> None:
    """x in seconds since the beginning of the data, in plain numbers."""
    ax.set_xlabel("time since the beginning (s)")
    ax.ticklabel_format(axis="x", style="plain", useOffset=False)


def count_axis(axis: Axis, label: str) -> None:
    """Whole numbers from 0."""
    axis.set_label_text(label)
    axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _, high = axis.get_view_interval()
    axis.set_view_interval(0, max(high, 1), ignore=True)


def share_axis(axis: Axis, label: str) -> None:
    """0 to 100 %."""
    axis.set_label_text(f"{label} (%)")
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}"))


def duration_axis(ax: Axes, label: str, durations_s: NDArray[np.float64]) -> None:
    """x in seconds on a log scale over whole decades, ticks as 10 µs, 1 ms, 100 s."""
    low, high = decades(durations_s)
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.set_xlabel(f"{label} (s, log scale)")
    ax.xaxis.set_major_locator(LogLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())


def decades(durations_s: NDArray[np.float64]) -> tuple[float, float]:
    """The whole decades that hold all positive durations, at least one; 1 ns is the clock's step."""
    positive = durations_s[durations_s > 0]
    if not len(positive):
        return 1e-9, 1e-8
    low = 10.0 ** np.floor(np.log10(max(float(positive.min()), 1e-9)) + 1e-9)
    high = 10.0 ** np.ceil(np.log10(float(positive.max())) - 1e-9)
    return float(low), float(max(high, low * 10))


def figure(value: float) -> str:
    """Three digits or all whole ones, never an exponent for large ones."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def duration(value_s: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value_s >= size * 0.9995:
            return f"{figure(value_s / size)} {unit}"
    return f"{figure(value_s * 1e9)} ns"

"""Rows of bars, one a process."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from binder_observe.plots import style
from binder_observe.plots.legend import Legend

FEW = 3  # lanes that always have room, so that one bar is not as high as the plot


def lanes(ax: Axes, names: Sequence[str], others: int = 0) -> None:
    """y has one lane a name, the first on top, and one for so many others."""
    labels = [*names, f"{others} others together"] if others else list(names)
    ax.set_yticks(range(len(labels)), labels)
    ax.tick_params(axis="y", length=0, labelsize="small")
    room = max(FEW - len(labels), 0) / 2
    ax.set_ylim(len(labels) - 0.4 + room, -0.6 - room)
    style.grid(ax, "x")
    ax.spines["left"].set_visible(False)


def with_rest(numbers: pd.DataFrame, shown: Sequence[Hashable], rest: Sequence[Hashable]) -> pd.DataFrame:
    """The rows `shown`, and one more with the sums of `rest`, when there are any."""
    if not rest:
        return numbers.loc[list(shown)]
    return pd.concat([numbers.loc[list(shown)], numbers.loc[list(rest)].sum().to_frame().T])


def stacked(ax: Axes, parts: Mapping[str, NDArray[np.float64]], looks: Mapping[str, Mapping[str, Any]]) -> Legend:
    """Horizontal bars, the parts of each lane beside each other in their order; parts that are 0 everywhere are
    left out. Returns their legend."""
    left = np.zeros(len(next(iter(parts.values()))))
    legend = Legend()
    for name, lengths in parts.items():
        if lengths.any():
            ax.barh(range(len(lengths)), lengths, left=left, height=0.7, **style.area(looks[name]))
            left = left + lengths
            legend.add_area(looks[name], name)
    return legend


def beside(ax: Axes, ends: Sequence[float], texts: Sequence[str]) -> None:
    """A short text right of each bar, and room for it."""
    for lane, (end, text) in enumerate(zip(ends, texts, strict=True)):
        ax.annotate(text, (end, lane), (7, 0), textcoords="offset points", va="center", fontsize="small")
    # layout is not known yet: labels and legend may leave two fifths of the plot to the bars; 5.5 points a character
    width = ax.get_position().width * ax.figure.get_figwidth() * 72 / 2.4  # type: ignore[union-attr]
    share = min((12 + 5.5 * max(map(len, texts))) / width, 0.5)
    ax.set_xlim(right=max(ends) / (1 - share))

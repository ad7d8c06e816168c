"""What a plot drew, looked up in the artists of its Axes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from binder_observe import plots
from tests.plots import make

# plot, its frame for so many processes, the words on its axes
PLOTS: dict[str, tuple[Callable[..., Axes], Callable[[int], Any], str, str]] = {
    "residency": (plots.plot_residency, make.residency, "time since the beginning (s)", "pages"),
    "survival": (plots.plot_survival, make.survival, "duration (s, log scale)", "share that lasts longer (%)"),
    "lru": (plots.plot_lru, make.lru, "share of idle spans (%)", ""),
    "senders": (plots.plot_senders, make.senders, "page-time (page-seconds)", ""),
    "bursts": (plots.plot_reclaims, make.bursts, "time since the beginning (s)", "pages in one burst"),
    "reclaims": (plots.plot_reclaims, make.reclaims, "time since the beginning (s)", "pages reclaimed so far"),
    "installs": (
        plots.plot_install_latency,
        make.installs,
        "latency of an install (s, log scale)",
        "share of installs (%)",
    ),
    "fragmentation": (plots.plot_fragmentation, make.fragmentation, "pages", ""),
    "metadata": (plots.plot_metadata, make.metadata, "time since the beginning (s)", "metadata (KiB)"),
    "leaks": (plots.plot_leaks, make.leaks, "active for (s, log scale)", ""),
    "lifetimes": (plots.plot_lifetimes, make.lives, "lifetime (s, log scale)", ""),
}


def axes() -> Axes:
    return Figure(figsize=(7.5, 4), layout="constrained").add_subplot()


def draw(name: str, frame: Any, **options: Any) -> Axes:
    return PLOTS[name][0](frame, axes(), **options)


def svg(ax: Axes) -> str:
    """The picture, with text as text."""
    file = io.StringIO()
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg")
    return file.getvalue()


def entries(ax: Axes) -> list[str]:
    """Of the legend."""
    legend = ax.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def lanes(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_yticklabels()]


def words(ax: Axes) -> str:
    return "\n".join([*entries(ax), *lanes(ax), *(text.get_text() for text in ax.texts)])


def lines(ax: Axes, marker: str | None = None) -> list[tuple[Any, Any]]:
    """(x, y) of each line, or of those with this marker."""
    some = [line for line in ax.lines if marker is None or line.get_marker() == marker]
    return [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in some]


def bars(ax: Axes) -> list[Any]:
    """Widths of each series of horizontal bars."""
    return [np.array([bar.get_width() for bar in container]) for container in ax.containers]


def areas(ax: Axes) -> list[tuple[Any, Any, Any]]:
    """(heights, edges, colour) of each outline that is filled."""
    patches = [patch for patch in ax.patches if isinstance(patch, StepPatch)]
    return [(*patch.get_data()[:2], patch.get_facecolor()) for patch in patches]

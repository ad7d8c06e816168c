"""The legend: right of the plot, where it covers no data; says what was left out, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from binder_observe.plots.style import area


class Legend:
    """Entries in their order."""

    def __init__(self, title: str | None = None) -> None:
        self._title = title
        self._handles: list[Any] = []
        self._labels: list[str] = []

    def add(self, handle: Any, label: str) -> None:
        """An artist, or one made like it."""
        self._handles.append(handle)
        self._labels.append(label)

    def add_area(self, look: Mapping[str, Any], label: str) -> None:
        """A filled patch."""
        self.add(Patch(**area(look)), label)

    def note(self, text: str) -> None:
        """Words without a mark."""
        self.add(Line2D([], [], linestyle="none"), text)

    def draw(self, ax: Axes) -> None:
        if self._labels:
            ax.legend(
                self._handles, self._labels, title=self._title, loc="upper left", bbox_to_anchor=(1.01, 1.0),
                borderaxespad=0.0, frameon=False, fontsize="small", title_fontsize="small", alignment="left",
            )  # fmt: skip

"""A comparison in every form, for Python and notebooks."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from binder_observe.comparison.result import Comparison
from binder_observe.files import write_private
from binder_observe.reports.comparison import as_json, terminal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class ComparisonReport:
    """What differs between two recordings; `data` is what every form is written from."""

    def __init__(self, data: Comparison) -> None:
        self.data = data

    def frame(self) -> pd.DataFrame:
        """One row a difference, the most important first; the columns are those of `Comparison.frame`."""
        return self.data.frame()

    def plot(self, ax: Axes | None = None) -> Axes:
        """The first differences with their intervals."""
        from binder_observe.reports.comparison.plot import plot_comparison

        return plot_comparison(self.data.frame(), ax)

    def to_dict(self) -> dict[str, Any]:
        """The JSON comparison, as docs/compare.md describes it."""
        return self.data.to_dict()

    def to_json(self) -> str:
        return as_json.text(self.data)

    def to_html(self, path: str | os.PathLike[str] | None = None, *, force: bool = False) -> str:
        """The page, self-contained; written to `path`, too, when there is one (mode 0600).

        Raises ObserveError when the file exists and `force` is false, or cannot be written.
        """
        from binder_observe.reports.comparison.html import render

        page = render(self.data)
        if path is not None:
            write_private(path, page, force=force)
        return page

    def __str__(self) -> str:
        out = io.StringIO()
        terminal.write(self.data, out)
        return out.getvalue()

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"

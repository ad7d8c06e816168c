"""Pages held over time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from binder_observe.plots import names, style
from binder_observe.plots.legend import Legend
from binder_observe.plots.steps import POINTS, Floats, decimate, floats, total

STACK = ("active", "lru", "unknown")  # bottom first


def plot_residency(
    frame: pd.DataFrame,
    ax: Axes | None = None,
    *,
    origin_ns: int | None = None,
    free: bool = False,
    largest: int = style.LINES,
) -> Axes:
    """Pages over time, from `df_residency`.

    Of one mapping, one process, or all together: the states stacked, `free` pages of the mapping on top when asked
    for. Of several: one line each of pages held (active and lru), the rest summed as others, or only
    counted where they would dwarf the largest; largest by their greatest
    number. 0 s is at `origin_ns`, or where the observation began.
    """
    ax = style.canvas(ax)
    key = next((name for name in ("alloc", "pid") if name in frame.columns), None)
    several = key is not None and frame[key].nunique(dropna=False) > 1
    style.heading(ax, frame, "Pages held" if several or not free else "Pages by state")
    if frame.empty:
        return style.no_data(ax, "no page was seen")
    origin = style.origin(frame, frame["ts_ns"].min(), origin_ns)
    if several:
        assert key is not None
        _lines(frame, ax, key, origin, largest)
    else:
        _stack(frame, ax, origin, (*STACK, "free") if free else STACK)
    style.time_axis(ax)
    style.count_axis(ax.yaxis, "pages")
    ax.margins(x=0)
    style.grid(ax)
    return ax


def _stack(frame: pd.DataFrame, ax: Axes, origin_ns: int, states: tuple[str, ...]) -> None:
    x = style.seconds(frame["ts_ns"], origin_ns)
    counts = {state: floats(frame[state]) for state in states}
    drawn = [state for state in states if counts[state].any()]
    tops = dict(zip(drawn, np.cumsum([counts[state] for state in drawn], axis=0), strict=True)) if drawn else {}
    legend = Legend()
    for state in reversed(drawn):  # the whole first, then what is below over it: one outline an area keeps SVGs small
        at = decimate(x, tops[state], POINTS // len(drawn))
        ax.stairs(tops[state][at], np.append(x[at], x[-1]), fill=True, **style.area(style.STATE_LOOKS[state]))
        legend.add_area(style.STATE_LOOKS[state], style.STATE_NAMES[state])
    legend.draw(ax)


def _lines(frame: pd.DataFrame, ax: Axes, key: str, origin_ns: int, most: int) -> None:
    held = floats(frame["active"]) + floats(frame["lru"])
    groups = frame.groupby(key, sort=False, dropna=False, observed=True).indices
    labels = names.processes(frame) if key == "alloc" else {}
    shown, rest = style.largest(pd.Series({k: held[rows].max() for k, rows in groups.items()}), most)
    times = frame["ts_ns"].to_numpy(dtype=np.int64)
    end = times.max()
    legend = Legend("active + lru of")
    budget = POINTS // (len(shown) + bool(rest))

    def draw(at_ns: Any, pages: Floats, label: str, **looks: Any) -> None:
        at_ns, pages = np.append(at_ns, end), np.append(pages, pages[-1])  # holds to the end of the data
        x = style.seconds(at_ns, origin_ns)
        at = decimate(x, pages, budget)
        (line,) = ax.plot(x[at], pages[at], drawstyle="steps-post", linewidth=1.3, **looks)
        legend.add(line, label)

    for i, k in enumerate(shown):
        rows = groups[k]
        first = frame.iloc[rows[0]]
        label = labels[k] if key == "alloc" else names.task(first["pid"], first.get("comm"))
        draw(times[rows], held[rows], label, **style.series_style(i))
    if rest:
        at_ns, pages = total([(times[groups[k]], held[groups[k]]) for k in rest])
        if style.dwarfs(pages.max(), held.max()):
            legend.note(f"{len(rest)} others not shown:\nup to about {pages.max():,.0f} together")
        else:
            draw(at_ns, pages, f"{len(rest)} others together", color=style.GREY, linestyle=":", zorder=1)
    legend.draw(ax)

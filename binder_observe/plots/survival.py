"""Survival of pages, or of their stays in one state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from binder_observe.plots import names, style
from binder_observe.plots.legend import Legend
from binder_observe.plots.steps import POINTS, decimate, floats

COLUMNS = ("duration_ns", "at_risk", "ended", "censored", "survival", "ci_low", "ci_high")
BANDS = 4  # more bands than these hide each other
TICKS = 60  # marks of censoring on one line at most


def plot_survival(frame: pd.DataFrame, ax: Axes | None = None, *, largest: int = style.LINES) -> Axes:
    """The share that lasts longer than a duration, from `df_survival`: one step function a group, `|` where rows were
    censored, and the 95 % band where there are few groups. Largest groups by rows at risk; others are left out, and
    counted.
    """
    ax = style.canvas(ax)
    style.heading(ax, frame, "Survival")
    if frame.empty:
        return style.no_data(ax, "no life or span of known beginning")
    by = [str(name) for name in frame.columns if name not in COLUMNS]
    group = pd.Series(0, index=frame.index)
    if by:  # not `.indices`, which forgets rows without a category
        group = frame.groupby(by, sort=False, dropna=False, observed=True).ngroup()
    shown, rest = style.largest(frame["at_risk"].groupby(group).max(), largest)
    style.duration_axis(ax, "duration", floats(frame["duration_ns"]) / 1e9)
    legend = Legend()
    for i, number in enumerate(shown):
        rows = frame[group == number]
        looks = style.series_style(i)
        curve = _curve(ax, rows, looks, POINTS // (2 * len(shown)), band=len(shown) <= BANDS)
        legend.add(curve, _label(rows.iloc[0], by))
    if frame["censored"].any():
        legend.add(Line2D([], [], color=style.text_colour(), marker="|", linestyle="none"), "censored (may go on)")
    if len(shown) > BANDS:
        legend.note("95 % bands not shown")
    if rest:
        legend.note(f"{len(rest)} others not shown")
    style.share_axis(ax.yaxis, "share that lasts longer")
    ax.set_ylim(0, 1.02)
    style.grid(ax)
    legend.draw(ax)
    return ax


def _curve(ax: Axes, rows: pd.DataFrame, looks: dict[str, Any], points: int, *, band: bool) -> Line2D:
    left, _ = ax.get_xlim()
    x = np.maximum(floats(rows["duration_ns"]) / 1e9, left)  # 0 has no place on a log scale
    survival = floats(rows["survival"])
    at = decimate(np.log(x), survival, points)
    (line,) = ax.plot(x[at], survival[at], drawstyle="steps-post", linewidth=1.5, **looks)
    if band:
        low, high = floats(rows["ci_low"])[at], floats(rows["ci_high"])[at]
        ax.fill_between(x[at], low, high, step="post", color=looks["color"], alpha=0.18, linewidth=0)
    censored = np.flatnonzero(rows["censored"].to_numpy() > 0)
    if len(censored):
        column = (np.log(x[censored] / x[0]) * TICKS / max(np.log(x[-1] / x[0]), 1e-9)).astype(np.int64)
        ticks = censored[np.append(np.diff(column) != 0, True)]  # the last of each column
        ax.plot(x[ticks], survival[ticks], linestyle="none", marker="|", markersize=7, color=looks["color"])
    return line


def _label(row: pd.Series[Any], by: list[str]) -> str:
    rest = list(by)
    parts = []
    for pid, comm in (("pid", "comm"), ("sender_pid", "sender_comm")):
        if pid in rest and comm in rest:
            parts.append(names.task(row[pid], row[comm]))
            rest = [name for name in rest if name not in (pid, comm)]
    parts += [f"{name} {'unknown' if pd.isna(row[name]) else names.plain(row[name])}" for name in rest]
    return ", ".join(parts) or "all"

"""Who made whom grow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from binder_observe.plots import names, style
from binder_observe.plots.lanes import beside, lanes, stacked, with_rest
from binder_observe.plots.steps import floats

STATES = ("active", "lru")
BEFORE = "before attach"  # pages that were there before anyone could see who sent


def plot_senders(frame: pd.DataFrame, ax: Axes | None = None, *, largest: int = style.LANES) -> Axes:
    """Page-time that each sender's installs took up in each owner's mapping, from `df_senders`: active and on the LRU.
    Largest pairs by page-time, the rest together as others, or only counted where they would dwarf the largest."""
    held = frame[["active_ns", "lru_ns", "installs"]].astype("float64").reset_index(drop=True)
    page_time = held["active_ns"] + held["lru_ns"]
    page_time = page_time[page_time > 0]
    ax = style.canvas(ax, style.lanes_height(len(page_time)))
    style.heading(ax, frame, "Page-time, by sender and owner")
    if page_time.empty:
        return style.no_data(ax, "no page was held")
    shown, rest = style.largest(page_time, largest)
    apart = style.dwarfs(page_time[rest].sum(), page_time.max())
    drawn = held.loc[shown] if apart else with_rest(held, shown, rest)
    lengths = {style.STATE_NAMES[state]: floats(drawn[f"{state}_ns"]) / 1e9 for state in STATES}
    legend = stacked(ax, lengths, {style.STATE_NAMES[state]: style.STATE_LOOKS[state] for state in STATES})
    if apart:
        legend.note(f"{len(rest)} others not shown:\n{style.figure(page_time[rest].sum() / 1e9)} page-seconds")
    legend.draw(ax)
    owners = names.processes(frame)
    lanes(ax, [_pair(frame.iloc[i], owners) for i in shown], others=0 if apart else len(rest))
    ax.set_xlabel("page-time (page-seconds)")
    ax.ticklabel_format(axis="x", style="plain", useOffset=False)
    ax.set_xlim(left=0)
    beside(ax, np.sum(list(lengths.values()), axis=0).tolist(), [f"{n:,.0f} installs" for n in drawn["installs"]])
    return ax


def _pair(row: pd.Series[Any], owners: dict[Any, str]) -> str:
    sender = names.task(row["sender_pid"], row["sender_comm"], BEFORE)
    return f"{sender} → {'itself' if row['in_own'] is not pd.NA and row['in_own'] else owners[row['alloc']]}"

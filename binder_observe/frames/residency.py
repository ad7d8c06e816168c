"""Pages by state over time, exactly, and their page-seconds."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from binder_observe.events import Kind
from binder_observe.frames.columns import Columns, allocs, comm_of, keys, numbers, of_history, pid_or_na, places, ratio
from binder_observe.frames.lives import STATES
from binder_observe.history import History
from binder_observe.rows import State


@of_history
def df_residency(h: History, by: Literal["alloc", "pid", "all"] = "alloc") -> pd.DataFrame:
    """How many pages are in which state, as an exact step function.

    One row a change: the counts hold from `ts_ns` to the next row's. What is mapped is the sum of the four; after
    release that is 0. The last row of each group stands at the end of the observation, changed or not.

    - by "alloc": pid UInt32, comm category, context category, alloc uint32, sorted by alloc, ts_ns;
      by "pid": pid, comm of the owner, all of its allocs together, sorted by pid, ts_ns; by "all": no key column
    - ts_ns int64, CLOCK_BOOTTIME; active, lru, free, unknown int32: pages
    """
    group = _groups(h, by)
    spans, at = h.spans, group[places(numbers(h.allocs), h.spans["alloc"])]
    stays = spans["ended"] != Kind.DETACH  # what goes on at the end does not leave
    last = int(spans["until_ns"].max(initial=h.end_ns))  # clocks of two CPUs can differ by a little
    groups = np.unique(group)

    ts = np.concatenate([spans["since_ns"], spans["until_ns"][stays], np.full(len(groups), last)])
    key = np.concatenate([at, at[stays], groups])
    state = np.concatenate([spans["state"], spans["state"][stays], np.zeros(len(groups), dtype=np.uint8)])
    step = np.repeat(np.array([1, -1, 0], dtype=np.int8), [len(spans), stays.sum(), len(groups)])

    order = np.lexsort((ts, key))
    ts, key = ts[order], key[order]
    new = np.ones(len(ts), dtype=np.bool_)  # the first row of each moment of a group
    new[1:] = (ts[1:] != ts[:-1]) | (key[1:] != key[:-1])
    moment = np.cumsum(new) - 1
    ts, key = ts[new], key[new]
    counts = np.zeros((len(ts), len(State)), dtype=np.int32)
    np.add.at(counts, (moment, state[order]), step[order])

    changed = counts.any(axis=1) | (ts == last)
    counts = np.cumsum(counts, axis=0, dtype=np.int32)
    first = np.searchsorted(key, groups)
    before = np.concatenate([np.zeros((1, len(State)), dtype=np.int32), counts])[first]  # left over from other groups
    counts = (counts - before[np.searchsorted(groups, key)])[changed]
    return pd.DataFrame(
        {
            **_group_columns(h, by, key[changed]),
            "ts_ns": ts[changed],
            **{s.name.lower(): counts[:, s] for s in STATES},
        }
    )


def _groups(h: History, by: str) -> NDArray[np.uint32]:
    """What each of `h.allocs` is counted under."""
    if by == "alloc":
        return numbers(h.allocs)
    if by == "pid":
        return np.array([s.pid for s in h.allocs], dtype=np.uint32)
    return np.zeros(len(h.allocs), dtype=np.uint32)


def _group_columns(h: History, by: str, group: NDArray[np.uint32]) -> Columns:
    if by == "alloc":
        return keys(h, group)
    if by == "pid":
        return {"pid": pid_or_na(group), "comm": comm_of(h, group)}
    return {}


@of_history
def df_page_seconds(h: History) -> pd.DataFrame:
    """Page-seconds by state: one row an alloc, in the report's order.

    - pid UInt32, comm category, context category, alloc uint32
    - active_s, lru_s, free_s, unknown_s float64: pages times the seconds that each spent in the state; lru_s are idle
      page-seconds: memory held and not used
    - idle_share Float64: lru_s / (active_s + lru_s), NA when it held no page
    """
    alloc = numbers(allocs(h))
    time = np.zeros((len(alloc), len(State)), dtype=np.int64)
    np.add.at(time, (places(alloc, h.spans["alloc"]), h.spans["state"]), h.spans["until_ns"] - h.spans["since_ns"])
    lru, held = time[:, State.LRU], time[:, State.LRU] + time[:, State.ACTIVE]
    return pd.DataFrame(
        {
            **keys(h, alloc),
            **{f"{s.name.lower()}_s": time[:, s] / 1e9 for s in STATES},
            "idle_share": ratio(lru, held),
        }
    )

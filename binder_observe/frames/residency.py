"""Pages by state over time, exactly, and their page-seconds."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from binder_observe.errors import ObserveError
from binder_observe.frames.columns import Columns, allocs, comm_of, keys, numbers, of_history, pid_or_na, places, ratio
from binder_observe.frames.lives import STATES
from binder_observe.frames.steps import step_function, thinned
from binder_observe.history import History
from binder_observe.rows import State


@of_history
def df_residency(h: History, by: Literal["alloc", "pid", "all"] = "alloc", cells: int | None = None) -> pd.DataFrame:
    """How many pages are in which state, as an exact step function.

    One row a change: the counts hold from `ts_ns` to the next row's. What is mapped is the sum of the four; after
    release that is 0. The last row of each group stands at the end of the observation, changed or not.

    - by "alloc": pid UInt32, comm category, context category, alloc uint32, sorted by alloc, ts_ns;
      by "pid": pid, comm of the owner, all of its allocs together, sorted by pid, ts_ns; by "all": no key column
    - ts_ns int64, CLOCK_BOOTTIME; active, lru, free, unknown int32: pages

    `cells`, for pictures of long recordings: leaves out rows that could not be seen if the observation were drawn in so
    many columns. Of each group and column those stay that have the least and the greatest number of pages active,
    active or on the LRU, unknown, and of these three together, and the last one. Raises ObserveError for no cell.
    """
    if cells is not None and cells < 1:
        raise ObserveError(f"a time cut into {cells} cells: it needs at least one")
    numbered = numbers(h.allocs)
    keyed, group_of = np.unique(_groups(h, by), return_inverse=True)
    group = np.zeros(int(numbered.max(initial=0)) + 1, dtype=np.int32)
    group[numbered] = group_of
    pages = np.zeros(len(group) + 1, dtype=np.int64)
    pages[numbered + 1] = [s.mapping_pages for s in h.allocs]
    last = int(h.spans["until_ns"].max(initial=h.end_ns))  # clocks of two CPUs can differ by a little
    place, ts, counts = step_function(h.spans, group, len(keyed), np.cumsum(pages), last)
    if cells is not None:
        seen = thinned(place, ts, counts, h.begin_ns, max((last - h.begin_ns) // cells, 1))
        place, ts, counts = place[seen], ts[seen], counts[seen]
    return pd.DataFrame(
        {
            **_group_columns(h, by, keyed[place]),
            "ts_ns": ts,
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

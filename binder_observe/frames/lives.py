"""Lives of pages and the spans that they are made of: one row each."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from binder_observe.errors import ObserveError
from binder_observe.events import Kind
from binder_observe.frames.columns import in_order, keys, names_of, nullable, of_history, task
from binder_observe.history import History
from binder_observe.rows import Began, Ended, State
from binder_observe.transitions import TRANSITIONS

STATES: Final = (State.ACTIVE, State.LRU, State.FREE, State.UNKNOWN)
# What an event proved about the time before it holds from the description, the snapshot or the gap on.
_START_UNKNOWN: Final = (Kind.ALLOC, Kind.SNAPSHOT_FREE, Kind.SNAPSHOT_ACTIVE, Kind.SNAPSHOT_LRU, Kind.LOST)
_CENSORED: Final = (Kind.LOST, Kind.DETACH)
_KINDS: Final = (Kind.MMAP, Kind.ALLOC, *TRANSITIONS, Kind.LOST, Kind.RELEASE_END, Kind.DETACH)


@of_history
def df_lifetimes(h: History) -> pd.DataFrame:
    """One row a life of a page, sorted by observed_ns, alloc, page.

    Times are ns of CLOCK_BOOTTIME; columns:

    - pid UInt32, comm category, context category, alloc uint32: whose page it is; page uint32: its index
    - began category: installed, or before_attach / after_gap (left-truncated: the birth is unknown)
    - ended category: reclaimed, released, or alive / lost (censored: it lasted at least that long)
    - observed_ns int64: when it came under observation, which is the birth of installed ones; birth_ns Int64
    - entry_ns Int64: its age when it came under observation, 0 for installed ones; NA unknown
    - end_ns int64; duration_ns Int64: end - birth, NA when the birth is unknown. The time since `observed_ns` must not
      stand in for it: a page met at attach is likelier to be a long-lived one (length-biased sampling)
    - active_ns, lru_ns int64: time in use and on the LRU, within the observation; reuses uint32
    - sender_pid UInt32, sender_comm category: the task that installed it, NA unknown
    - ender_pid UInt32, ender_comm category: the task that reclaimed or released it, NA for censored ones
    """
    rows = in_order(h.lives, "birth_ns", "alloc", "page")
    unborn = rows["began"] != Began.INSTALLED
    return pd.DataFrame(
        {
            **keys(h, rows["alloc"]),
            "page": rows["page"],
            "began": names_of(rows["began"], tuple(Began)),
            "ended": names_of(rows["ended"], tuple(Ended)),
            "observed_ns": rows["birth_ns"],
            "birth_ns": nullable(rows["birth_ns"], unborn, "Int64"),
            "entry_ns": nullable(np.zeros(len(rows)), unborn, "Int64"),
            "end_ns": rows["end_ns"],
            "duration_ns": nullable(rows["end_ns"] - rows["birth_ns"], unborn, "Int64"),
            "active_ns": rows["active_ns"],
            "lru_ns": rows["lru_ns"],
            "reuses": rows["reuses"],
            **task(h, "sender", rows["installer"]),
            **task(h, "ender", rows["ender"]),
        }
    )


@of_history
def df_spans(h: History) -> pd.DataFrame:
    """One row a stay of a page in one state, sorted by since_ns, alloc, page; those of a page leave no hole.

    - pid, comm, context, alloc, page: as in `df_lifetimes`
    - state category: active, lru, free, unknown
    - began, ended category: the event that proved it, e.g. alloc_page_end (install), free_lru_start (park),
      alloc_lru_start (reuse), unmap_kernel_start (reclaim), mmap, alloc (found at attach), snapshot_*, release_end,
      lost (a gap), detach (it goes on at the end)
    - since_ns, until_ns, duration_ns int64
    - start_known bool: False when it may have begun earlier; end_known bool: False when it may go on (censored)
    - starter_pid, ender_pid UInt32, starter_comm, ender_comm category: the tasks that began and ended it, NA unknown
    """
    rows = in_order(h.spans, "since_ns", "alloc", "page")
    return pd.DataFrame(
        {
            **keys(h, rows["alloc"]),
            "page": rows["page"],
            "state": names_of(rows["state"], STATES),
            "began": names_of(rows["began"], _KINDS),
            "ended": names_of(rows["ended"], _KINDS),
            "since_ns": rows["since_ns"],
            "until_ns": rows["until_ns"],
            "duration_ns": rows["until_ns"] - rows["since_ns"],
            "start_known": ~np.isin(rows["began"], _START_UNKNOWN),
            "end_known": ~np.isin(rows["ended"], _CENSORED),
            **task(h, "starter", rows["starter"]),
            **task(h, "ender", rows["ender"]),
        }
    )


@of_history
def stays(h: History, state: State) -> pd.DataFrame:
    """Of `df_spans`, the stays in one state and of each what `df_survival` and `df_quantiles` look at: state,
    duration_ns, start_known, end_known. In the order of their ends. A fraction of the time and memory of all columns.
    """
    mine = h.spans["state"] == state
    began, ended = h.spans["began"][mine], h.spans["ended"][mine]
    return pd.DataFrame(
        {
            "state": names_of(np.full(len(began), state), STATES),
            "duration_ns": h.spans["until_ns"][mine] - h.spans["since_ns"][mine],
            "start_known": ~np.isin(began, _START_UNKNOWN),
            "end_known": ~np.isin(ended, _CENSORED),
        }
    )


def window(lives: pd.DataFrame, begin_ns: int, end_ns: int) -> pd.DataFrame:
    """A lives frame as an observation from `begin_ns` to `end_ns` would have it, had it known all births.

    Lives that were there at some time in it, in their order. One born before has observed_ns = begin_ns and entry_ns =
    its age then (delayed entry); one that ends later is alive (censored) at end_ns, with its ender NA. What a cut
    life did within the window is not known from this frame: its active_ns, lru_ns (Int64) and reuses (UInt32) are NA.

    Raises ObserveError when the window ends before it begins.
    """
    if end_ns < begin_ns:
        raise ObserveError(f"the window ends at {end_ns} ns, before it begins at {begin_ns} ns: swap the two")
    observed, end = lives["observed_ns"], lives["end_ns"]
    inside = lives[(observed <= end_ns) & ((end > begin_ns) | (observed >= begin_ns))].copy()
    early = inside["observed_ns"] < begin_ns
    late = inside["end_ns"] > end_ns
    inside["observed_ns"] = inside["observed_ns"].clip(lower=begin_ns)
    inside["end_ns"] = inside["end_ns"].clip(upper=end_ns)
    inside["entry_ns"] = inside["observed_ns"] - inside["birth_ns"]
    inside["duration_ns"] = inside["end_ns"] - inside["birth_ns"]
    inside.loc[late, "ended"] = "alive"
    inside.loc[late, ["ender_pid", "ender_comm"]] = pd.NA
    inside = inside.astype({"active_ns": "Int64", "lru_ns": "Int64", "reuses": "UInt32"})
    inside.loc[early | late, ["active_ns", "lru_ns", "reuses"]] = pd.NA
    return inside.reset_index(drop=True)

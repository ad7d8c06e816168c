"""How long installs take, and whether reclaim makes them slower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from binder_observe.errors import ObserveError
from binder_observe.frames.columns import in_order, keys, names_of, nullable, of_history, pid_or_na, task
from binder_observe.frames.reclaim import BURST_GAP_NS, bursts, reclaimed
from binder_observe.history import History
from binder_observe.rows import Outcome

_BY: Final = ("pid", "comm", "context", "alloc", "page", "outcome", "sender_pid", "sender_comm", "tid")


@of_history
def df_installs(h: History, gap_ns: int = BURST_GAP_NS) -> pd.DataFrame:
    """One row an attempt to install a page: binder_install_single_page() (drivers/android/binder_alloc.c), up to 6.7 a
    step of binder_update_page_range().

    Columns: pid, comm, context, alloc (the owner's), page uint32; start_ns Int64 (ALLOC_PAGE_START; NA not seen),
    end_ns int64 (ALLOC_PAGE_END; of a failed one, when it was known to have failed: its task's next step in the
    allocator; of one in flight, the end of the observation); outcome category (installed, duplicate: another task had
    installed it, failed, in_flight); latency_ns Int64: end - start, NA unless both are ALLOC_PAGE events; sender_pid
    UInt32, sender_comm category, tid UInt32 (the thread that installed); during_reclaim bool.

    during_reclaim: the attempt, from start to end, has a moment in common with a burst of reclaim, from its first to
    its last page (`df_reclaim_bursts`). One whose start was not seen is judged by its end alone. An attempt that lasts
    longer meets a burst more easily, whatever made it last: with few and short bursts, read differences with care.

    Sorted by end_ns, alloc, page, tid. Raises ObserveError for a gap below 0.
    """
    rows = in_order(h.installs, "end_ns", "alloc", "page", "tid")
    seen = rows["start_ns"] >= 0
    ended = (rows["outcome"] == Outcome.INSTALLED) | (rows["outcome"] == Outcome.DUPLICATE)
    ts_ns = reclaimed(h)["until_ns"]
    first, last = bursts(ts_ns, gap_ns)
    # the first burst that is not over when the attempt starts; past the last one: never
    begin_ns = np.append(ts_ns[first], np.iinfo(np.int64).max)
    following = np.searchsorted(ts_ns[last], np.where(seen, rows["start_ns"], rows["end_ns"]))
    return pd.DataFrame(
        {
            **keys(h, rows["alloc"]),
            "page": rows["page"],
            "start_ns": nullable(rows["start_ns"], ~seen, "Int64"),
            "end_ns": rows["end_ns"],
            "outcome": names_of(rows["outcome"], list(Outcome)),
            "latency_ns": nullable(rows["end_ns"] - rows["start_ns"], ~(seen & ended), "Int64"),
            **task(h, "sender", rows["tgid"]),
            "tid": pid_or_na(rows["tid"]),
            "during_reclaim": begin_ns[following] <= rows["end_ns"],
        }
    )


@of_history
def df_install_latency(h: History, by: Sequence[str] = ("pid", "comm"), gap_ns: int = BURST_GAP_NS) -> pd.DataFrame:
    """Install latency during reclaim and otherwise, one row a group of `by` and during_reclaim.

    `by`: columns of `df_installs` (pid, comm, context, alloc, page, outcome, sender_pid, sender_comm, tid), or none.

    Columns: those of `by`, during_reclaim bool; n (attempts), duplicates, failed, timed (attempts with a known latency:
    installed or duplicate, start seen) uint32; p50_ns, p99_ns, max_ns Int64 over the timed ones, NA when there is none:
    the shortest latency that at least 50 % (99 %) of them do not exceed, so always one that occurred.
    Failed attempts have no latency, because the kernel does not say when they failed.

    Sorted by `by` and during_reclaim. Raises ObserveError for a column that cannot be grouped by, or a gap below 0.
    """
    wrong = [name for name in by if name not in _BY]
    if wrong:
        raise ObserveError(f"installs cannot be grouped by {', '.join(wrong)}: it must be of {', '.join(_BY)}")
    attempts = df_installs(h, gap_ns)
    columns = [*by, "during_reclaim"]
    group = attempts.groupby(columns, observed=True, dropna=False).ngroup().to_numpy()
    timed = attempts["latency_ns"].notna().to_numpy()
    latency = attempts["latency_ns"].fillna(0).to_numpy(dtype=np.int64)
    order = np.lexsort([latency, ~timed, group])  # each group is a run of rows that begins with its latencies in order
    begin = np.flatnonzero(np.diff(group[order], prepend=-1))

    def count(which: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(group[which], minlength=len(begin))

    n_timed = count(timed)
    frame = attempts.iloc[order[begin]][columns].reset_index(drop=True)
    frame["n"] = count(np.ones_like(timed)).astype(np.uint32)
    frame["duplicates"] = count((attempts["outcome"] == "duplicate").to_numpy()).astype(np.uint32)
    frame["failed"] = count((attempts["outcome"] == "failed").to_numpy()).astype(np.uint32)
    frame["timed"] = n_timed.astype(np.uint32)
    for name, percent in (("p50_ns", 50), ("p99_ns", 99), ("max_ns", 100)):
        rank = -(-n_timed * percent // 100)  # rounded up
        frame[name] = nullable(latency[order[begin + np.maximum(rank - 1, 0)]], n_timed == 0, "Int64")
    return frame

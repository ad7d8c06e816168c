"""Reclaim: who took parked pages back, in what bursts, how long they had been idle, and which pages stayed.

A reclaim is an UNMAP_KERNEL_START: binder_alloc_free_page() (drivers/android/binder_alloc.c), the callback of the
shrinker's list_lru_walk(), takes one page off the freelist.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from binder_observe.errors import ObserveError
from binder_observe.events import Kind
from binder_observe.frames.columns import allocs, category, in_order, keys, nullable, numbers, of_history, places, task
from binder_observe.frames.lru import ENDS
from binder_observe.history import History
from binder_observe.lifetimes.reclaims import inside
from binder_observe.rows import State

# Between two pages of one scan lie microseconds; between two scans, while reclaim works on other lists or is preempted,
# up to a few scheduler ticks (4 ms at 250 Hz). kswapd that has reached its watermark sleeps for 100 ms, unless it is
# woken (kswapd_try_to_sleep(), mm/vmscan.c: HZ/10). 10 ms lies between the two; it is a choice.
BURST_GAP_NS: Final = 10_000_000

HOW: Final = ("kswapd", "direct", "other")


def reclaimed(h: History) -> NDArray[np.void]:
    """The idle spans (dtype SPAN) that a reclaim ended, in order of the reclaims."""
    spans = h.spans[(h.spans["state"] == State.LRU) & (h.spans["ended"] == Kind.UNMAP_KERNEL_START)]
    return in_order(spans, "until_ns", "alloc", "page")


def burst_numbers(ts_ns: NDArray[np.int64], gap_ns: int = BURST_GAP_NS) -> NDArray[np.int64]:
    """Which burst each of the reclaims belongs to, from 0; their times are in order.

    Raises ObserveError for a gap below 0.
    """
    if gap_ns < 0:
        raise ObserveError(f"a gap of {gap_ns} ns between bursts: it must be 0 or more")
    return np.cumsum(np.diff(ts_ns, prepend=ts_ns[:1]) > gap_ns, dtype=np.int64)


def bursts(ts_ns: NDArray[np.int64], gap_ns: int = BURST_GAP_NS) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first and the last reclaim of each burst, as places in `ts_ns`."""
    number = burst_numbers(ts_ns, gap_ns)
    return np.flatnonzero(np.diff(number, prepend=-1)), np.flatnonzero(np.diff(number, append=len(ts_ns)))


def how_reclaimed(h: History, rows: NDArray[np.void]) -> NDArray[np.intp]:
    """Places in HOW of the reclaims `rows` (see `df_reclaims`)."""
    kswapd = np.array([t for t, name in h.comms.items() if name.startswith("kswapd")], dtype=np.uint32)
    when = np.stack([rows["ender"].astype(np.int64), rows["until_ns"]])
    direct = inside(when, h.installs, h.installs["end_ns"])
    return np.where(np.isin(rows["ender"], kswapd), 0, np.where(direct, 1, 2))


@of_history
def df_reclaims(h: History, gap_ns: int = BURST_GAP_NS) -> pd.DataFrame:
    """One row a reclaimed page; as many as the `reclaims` of the report.

    Columns: pid, comm, context, alloc (whose page it was), page uint32, ts_ns int64; reclaimer_pid UInt32,
    reclaimer_comm category (the task that ran the shrinker, NA unknown); how category; idle_ns Int64 (time on the LRU,
    NA: parked before it was under observation); burst int64, from 0.

    how: `kswapd`, by its name; `direct`: the reclaimer's process was inside an attempt to install a page, after its
    ALLOC_PAGE_START and before its end (binder_page_alloc() entered the shrinker); `other`: any other, such as direct
    reclaim elsewhere in the kernel, a writer of drop_caches, a task whose name is not known. `direct` goes by process,
    because spans do not keep the thread: another thread of it that reclaims elsewhere at the same time counts as well.
    A failed attempt counts until its failure was known. Sums are the report's `reclaimers`.

    A burst is the longest run of reclaims, of any tasks and mappings, in which none comes more than `gap_ns` after the
    one before it. Sorted by ts_ns, alloc, page. Raises ObserveError for a gap below 0.
    """
    rows = reclaimed(h)
    return pd.DataFrame(
        {
            **keys(h, rows["alloc"]),
            "page": rows["page"],
            "ts_ns": rows["until_ns"],
            **task(h, "reclaimer", rows["ender"]),
            "how": category(how_reclaimed(h, rows), HOW),
            "idle_ns": nullable(rows["until_ns"] - rows["since_ns"], rows["began"] != Kind.FREE_LRU_START, "Int64"),
            "burst": burst_numbers(rows["until_ns"], gap_ns),
        }
    )


@of_history
def df_reclaim_bursts(h: History, gap_ns: int = BURST_GAP_NS) -> pd.DataFrame:
    """One row a burst of reclaims (see `df_reclaims`).

    Columns: burst int64, begin_ns, end_ns int64 (its first and last reclaim), pages uint32, reclaimers uint32
    (processes that reclaimed), mappings uint32 (allocs that lost pages), how category (kswapd, direct, other; `mixed`
    when there was more than one). Sorted by burst, which is the order of time. Raises ObserveError for a gap below 0.
    """
    rows = reclaimed(h)
    first, last = bursts(rows["until_ns"], gap_ns)
    burst = burst_numbers(rows["until_ns"], gap_ns)
    how = how_reclaimed(h, rows)
    kinds = _distinct(burst, how, len(first))
    return pd.DataFrame(
        {
            "burst": np.arange(len(first), dtype=np.int64),
            "begin_ns": rows["until_ns"][first],
            "end_ns": rows["until_ns"][last],
            "pages": (last - first + 1).astype(np.uint32),
            "reclaimers": _distinct(burst, rows["ender"], len(first)),
            "mappings": _distinct(burst, rows["alloc"], len(first)),
            "how": category(np.where(kinds > 1, len(HOW), how[first]), (*HOW, "mixed")),
        }
    )


def _distinct(burst: NDArray[np.int64], values: NDArray[np.integer], n: int) -> NDArray[np.uint32]:
    """How many different values each of the `n` bursts has."""
    pairs = np.unique(burst.astype(np.uint64) << np.uint64(32) | values.astype(np.uint64))
    return np.bincount((pairs >> np.uint64(32)).astype(np.int64), minlength=n).astype(np.uint32)


@numba.njit(cache=True)
def _count_passes(since, until, following, end, youngest):  # type: ignore[no-untyped-def]  # compiled
    """For each stay, the bursts that passed over it; at most one stay of a page is open at the end of a burst."""
    passes = np.zeros(len(since), dtype=np.uint32)
    for i in range(len(since)):
        for b in range(following[i], len(end)):
            if end[b] >= until[i]:
                break
            passes[i] += youngest[b] > since[i]
    return passes


@of_history
def df_passed_over(h: History, gap_ns: int = BURST_GAP_NS) -> pd.DataFrame:
    """One row a stay on the LRU that at least one burst of reclaim passed over.

    A burst passed over a stay when it took a page that was parked after the stay had begun, and the stay went on past
    the burst's last reclaim. list_lru_walk() begins at the oldest page, and anew after each page that it takes
    (LRU_REMOVED_RETRY, __list_lru_walk_one(), mm/list_lru.c), so it had offered the older page to
    binder_alloc_free_page(), which answered LRU_SKIP: a trylock of the alloc, the VMA or the mm failed, the mm was
    gone, or the mapping was another. No tracepoint says so. (binder never answers LRU_ROTATE, which moves the page.)

    It can be wrong where the order of parks is not the order of the list: the freelist has a list for each NUMA node
    (none for each memcg: list_lru_init()), and a younger page of one node says nothing of an older one of another; and
    FREE_LRU_START comes just before the page is on the list, so two CPUs can park in one order and say so in another.
    It misses pages that were skipped when no younger one was taken, and those that went before the burst was over:
    where reclaim hardly pauses, so that bursts do not end, a smaller `gap_ns` shows more.

    Columns: pid, comm, context, alloc, page uint32, since_ns, until_ns int64, idle_ns int64 (how long it lasted, within
    the observation), ended category (reused, reclaimed, released, still_idle, lost), bursts_survived uint32.
    Sorted by bursts_survived, most first, then since_ns, alloc, page. Raises ObserveError for a gap below 0.
    """
    taken = reclaimed(h)
    first, last = bursts(taken["until_ns"], gap_ns)
    # A page whose park was not seen was parked before its span begins: it proves nothing when taken, but may itself
    # have been passed over.
    parked_ns = np.where(taken["began"] == Kind.FREE_LRU_START, taken["since_ns"], np.iinfo(np.int64).min)
    youngest = np.maximum.reduceat(parked_ns, first) if len(first) else parked_ns
    end = taken["until_ns"][last]
    stays = h.spans[h.spans["state"] == State.LRU]
    following = np.searchsorted(end, stays["since_ns"], side="right")
    columns = (np.ascontiguousarray(stays[c]) for c in ("since_ns", "until_ns"))
    passes = _count_passes(*columns, following, end, youngest)  # type: ignore[call-arg]  # compiled
    stays, passes = stays[passes > 0], passes[passes > 0]
    order = np.lexsort([stays["page"], stays["alloc"], stays["since_ns"], -passes.astype(np.int64)])
    stays, passes = stays[order], passes[order]
    ended = np.select([stays["ended"] == kind for kind in ENDS.values()], list(range(len(ENDS))))
    return pd.DataFrame(
        {
            **keys(h, stays["alloc"]),
            "page": stays["page"],
            "since_ns": stays["since_ns"],
            "until_ns": stays["until_ns"],
            "idle_ns": stays["until_ns"] - stays["since_ns"],
            "ended": category(ended, list(ENDS)),
            "bursts_survived": passes,
        }
    )


@of_history
def df_parked_under_reclaim(h: History, gap_ns: int = BURST_GAP_NS) -> pd.DataFrame:
    """One row an alloc: pages that stayed parked although reclaim walked past them (`df_passed_over` says which, and
    when that can be wrong).

    Columns: pid, comm, context, alloc; parked_pages uint32 (distinct pages that were passed over at least once),
    still_parked uint32 (those of them whose stay goes on at the end), bursts_survived uint32 (the most that one stay
    was passed over by), longest_idle_ns Int64 (the longest of those stays, within the observation; NA none).
    In the report's order. Raises ObserveError for a gap below 0.
    """
    stays = df_passed_over(h, gap_ns)
    among = numbers(allocs(h))
    place = places(among, stays["alloc"].to_numpy())
    pages = np.unique(stays["alloc"].to_numpy(dtype=np.uint64) << np.uint64(32) | stays["page"].to_numpy(np.uint64))
    survived = np.zeros(len(among), dtype=np.uint32)
    longest = np.full(len(among), -1, dtype=np.int64)
    np.maximum.at(survived, place, stays["bursts_survived"].to_numpy())
    np.maximum.at(longest, place, stays["idle_ns"].to_numpy())

    def count(of: NDArray[np.intp]) -> NDArray[np.uint32]:
        return np.bincount(of, minlength=len(among)).astype(np.uint32)

    return pd.DataFrame(
        {
            **keys(h, among),
            "parked_pages": count(places(among, (pages >> np.uint64(32)).astype(np.uint32))),
            "still_parked": count(place[(stays["ended"] == "still_idle").to_numpy()]),
            "bursts_survived": survived,
            "longest_idle_ns": nullable(longest, longest < 0, "Int64"),
        }
    )

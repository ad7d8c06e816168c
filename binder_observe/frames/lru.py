"""What the LRU is good for: pages that were reused against pages that were taken, and taken in vain."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from binder_observe.events import Kind
from binder_observe.frames.columns import allocs, in_order, keys, nullable, numbers, of_history, places, ratio, task
from binder_observe.history import History
from binder_observe.rows import State

# How a stay on the LRU ends.
ENDS: Final = {
    "reused": Kind.ALLOC_LRU_START,
    "reclaimed": Kind.UNMAP_KERNEL_START,
    "released": Kind.RELEASE_END,
    "still_idle": Kind.DETACH,
    "lost": Kind.LOST,
}

SKIPS: Final = ("alloc_lock", "mmap_lock", "mm_gone", "other")  # fields of LruSkips


@of_history
def df_lru_efficiency(h: History) -> pd.DataFrame:
    """One row an alloc: what became of its stays on the LRU.

    Columns: pid, comm, context, alloc;
    parks uint32, without those of the teardown; stays by how they ended, uint32: reused (ALLOC_LRU_START:
    binder_lru_freelist_del(), drivers/android/binder_alloc.c), reclaimed (UNMAP_KERNEL_START:
    binder_alloc_free_page()), released, still_idle (goes on at the end), lost (a gap). Together they are the parks and
    the stays that had begun before they were under observation;
    reuse_share Float64: reused / (reused + reclaimed), NA when there was neither;
    refaults uint32 (pages that were reclaimed and installed again), refault_share Float64: refaults / reclaimed, NA
    when none was reclaimed;
    refault_delay_p50_ns, refault_delay_p90_ns Int64: time until half, and until nine in ten, of the reclaimed pages are
    installed again, by Kaplan and Meier's product limit (J. Am. Stat. Assoc. 53, 1958, 457-481): pages still missing at
    the end, at a gap or at the release are censored, not left out; NA when too few came back to tell;
    idle_page_s float64: page-seconds on the LRU;
    skipped_alloc_lock, skipped_mmap_lock, skipped_mm_gone, skipped_other UInt32: how often binder_alloc_free_page()
    gave a page up (LRU_SKIP), by what was in its way; skip_share Float64: those among these and the reclaims. NA where
    it was not probed (`record --latency` does).
    In the report's order. `parks`, `reused`, `reclaimed` and `refaults` are the report's counts.
    """
    among = numbers(allocs(h))
    stays = h.spans[h.spans["state"] == State.LRU]
    place = places(among, stays["alloc"])

    def count(which: NDArray[np.bool_]) -> NDArray[np.uint32]:
        return np.bincount(place[which], minlength=len(among)).astype(np.uint32)

    ends = {name: count(stays["ended"] == kind) for name, kind in ENDS.items()}
    idle_ns = np.zeros(len(among), dtype=np.int64)
    np.add.at(idle_ns, place, stays["until_ns"] - stays["since_ns"])
    missing = h.spans[(h.spans["state"] == State.FREE) & (h.spans["began"] == Kind.UNMAP_KERNEL_START)]
    back = missing["ended"] == Kind.ALLOC_PAGE_END
    missing_place = places(among, missing["alloc"])
    refaults = np.bincount(missing_place[back], minlength=len(among)).astype(np.uint32)
    unseen = np.full(len(among), not h.meta.observes_skips)
    skips = {
        f"skipped_{reason}": np.array([getattr(s.lru_skips, reason) for s in allocs(h)], dtype=np.uint32)
        for reason in SKIPS
    }
    skipped = np.array([s.lru_skips.total for s in allocs(h)], dtype=np.int64)
    p50, p90 = _delays(missing["until_ns"] - missing["since_ns"], back, missing_place, len(among), (0.5, 0.9))
    return pd.DataFrame(
        {
            **keys(h, among),
            "parks": count(stays["began"] == Kind.FREE_LRU_START),
            **ends,
            "reuse_share": ratio(ends["reused"], ends["reused"] + ends["reclaimed"]),
            "refaults": refaults,
            "refault_share": ratio(refaults, ends["reclaimed"]),
            "refault_delay_p50_ns": nullable(p50, p50 < 0, "Int64"),
            "refault_delay_p90_ns": nullable(p90, p90 < 0, "Int64"),
            "idle_page_s": idle_ns / 1e9,
            **{name: nullable(n, unseen, "UInt32") for name, n in skips.items()},
            "skip_share": ratio(skipped, np.where(unseen, 0, skipped + ends["reclaimed"])),
        }
    )


def _delays(
    delay_ns: NDArray[np.int64],
    ended: NDArray[np.bool_],
    group: NDArray[np.intp],
    groups: int,
    probabilities: tuple[float, ...],
) -> NDArray[np.int64]:
    """Product-limit quantiles, shape (len(probabilities), groups); -1 where they are not reached."""
    found = np.full((len(probabilities), groups), -1, dtype=np.int64)
    order = np.lexsort([~ended, delay_ns, group])  # what is censored at a time is at risk until after it
    bounds = np.searchsorted(group[order], np.arange(groups + 1))
    for g in np.flatnonzero(np.diff(bounds)):
        rows = order[bounds[g] : bounds[g + 1]]
        # one row at a time is the same as all of one time together: (1 - 1/n) (1 - 1/(n-1)) = 1 - 2/n
        survival = np.cumprod(1 - ended[rows] / np.arange(len(rows), 0, -1))
        for i, p in enumerate(probabilities):
            reached = np.flatnonzero(survival <= 1 - p + 1e-12)  # the tolerance absorbs the product's rounding
            if len(reached):
                found[i, g] = delay_ns[rows[reached[0]]]
    return found


@of_history
def df_refaults(h: History) -> pd.DataFrame:
    """One row a refault: a page that the shrinker had taken was installed again. As many as the report's `refaults`.

    Columns: pid, comm, context, alloc, page uint32, reclaimed_ns, installed_ns, delay_ns int64 (from
    UNMAP_KERNEL_START to ALLOC_PAGE_END), reclaimer_pid UInt32, reclaimer_comm category, sender_pid UInt32, sender_comm
    category (whose transaction installed it). Sorted by installed_ns, alloc, page.

    Only pages that came back are here: their mean or median is not "the" refault delay, because those that take longest
    are missing at the end; `df_lru_efficiency` allows for that.
    """
    rows = h.spans[
        (h.spans["state"] == State.FREE)
        & (h.spans["began"] == Kind.UNMAP_KERNEL_START)
        & (h.spans["ended"] == Kind.ALLOC_PAGE_END)
    ]
    rows = in_order(rows, "until_ns", "alloc", "page")
    return pd.DataFrame(
        {
            **keys(h, rows["alloc"]),
            "page": rows["page"],
            "reclaimed_ns": rows["since_ns"],
            "installed_ns": rows["until_ns"],
            "delay_ns": rows["until_ns"] - rows["since_ns"],
            **task(h, "reclaimer", rows["starter"]),
            **task(h, "sender", rows["ender"]),
        }
    )

"""Who made whom grow: pages are installed by the sender of a transaction, in the mapping of its receiver."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from binder_observe.frames.columns import allocs, keys, numbers, of_history, places, ratio, task
from binder_observe.history import History
from binder_observe.rows import Began, Outcome


@of_history
def df_senders(h: History) -> pd.DataFrame:
    """One row an alloc and process that installed pages in it, or tried to.

    binder_install_buffer_pages() runs in the sender's context (binder_transaction(), drivers/android/binder.c), so the
    current task of ALLOC_PAGE_END is the sender.

    Columns: pid, comm, context, alloc (the owner's); sender_pid UInt32, sender_comm category (NA: lives whose install
    was not seen, from before attach or after a gap); installs, duplicates, failed uint32; held_ns int64: page-time of
    the lives that it installed, within the observation, = active_ns + lru_ns; active_ns, lru_ns int64;
    share_of_installs Float64: of the alloc's installs, NA when there were none; in_own boolean: the sender is the owner
    itself, NA unknown. Sorted by held_ns, most first, then alloc, sender_pid (NA first).

    A page stays in the name of whoever installed it until it is reclaimed or released, though others may reuse it.
    Sums by alloc are the report's installs, duplicate_installs, failed_installs, active_ns and lru_ns.
    """
    pairs, row = np.unique(
        np.concatenate([_pair(h.lives["alloc"], h.lives["installer"]), _pair(h.installs["alloc"], h.installs["tgid"])]),
        return_inverse=True,
    )
    of_life, of_attempt = row[: len(h.lives)], row[len(h.lives) :]
    alloc = (pairs >> np.uint64(32)).astype(np.uint32)
    sender = (pairs & np.uint64(0xFFFF_FFFF)).astype(np.uint32)

    def count(rows: NDArray[np.intp]) -> NDArray[np.uint32]:
        return np.bincount(rows, minlength=len(pairs)).astype(np.uint32)

    def total(of: NDArray[np.int64]) -> NDArray[np.int64]:
        summed = np.zeros(len(pairs), dtype=np.int64)  # bincount would sum in float64
        np.add.at(summed, of_life, of)
        return summed

    active_ns, lru_ns = total(h.lives["active_ns"]), total(h.lives["lru_ns"])
    installs = count(of_life[h.lives["began"] == Began.INSTALLED])
    among = numbers(allocs(h))
    place = places(among, alloc)
    of_alloc = np.bincount(place, installs, minlength=len(among))
    columns = keys(h, alloc)
    known = task(h, "sender", sender)
    frame = pd.DataFrame(
        {
            **columns,
            **known,
            "installs": installs,
            "duplicates": count(of_attempt[h.installs["outcome"] == Outcome.DUPLICATE]),
            "failed": count(of_attempt[h.installs["outcome"] == Outcome.FAILED]),
            "held_ns": active_ns + lru_ns,
            "active_ns": active_ns,
            "lru_ns": lru_ns,
            "share_of_installs": ratio(installs, of_alloc[place]),
            "in_own": columns["pid"] == known["sender_pid"],
        }
    )
    order = np.lexsort([sender, alloc, -(active_ns + lru_ns)])
    return frame.iloc[order].reset_index(drop=True)


def _pair(alloc: NDArray[np.uint32], tgid: NDArray[np.uint32]) -> NDArray[np.uint64]:
    return np.asarray(alloc.astype(np.uint64) << np.uint64(32) | tgid)

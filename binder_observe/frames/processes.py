"""The report's table as a frame: one row an alloc."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from binder_observe.frames.columns import allocs, keys, nullable, numbers, of_history
from binder_observe.history import History

_COLUMNS: Final = {
    "mapping_pages": "mapping_pages",
    "active": "active",
    "lru": "lru",
    "free": "free",
    "unknown": "unknown",
    "high_watermark": "high_watermark",
    "touched": "touched",
    "installs": "installs",
    "duplicate_installs": "duplicate_installs",
    "failed_installs": "failed_installs",
    "parks": "parks",
    "reuses": "reuses",
    "reclaims": "reclaims",
    "refaults": "refaults",
    "released": "released",
    "observed_from_birth": "from_birth",
    "active_ns": "active_ns",
    "lru_ns": "lru_ns",
    "lost_events": "lost_events",
    "unexplained": "unexplained",
}  # column: field of AllocState
_FLAGS: Final = ("released", "observed_from_birth")


@of_history
def df_processes(h: History) -> pd.DataFrame:
    """One row an alloc (a process has one for each context that it opened), in the report's order: live ones first, by
    pages held, then pid.

    - pid UInt32, comm category, context category, alloc uint32
    - mapping_pages; active, lru, free, unknown: pages by state at the end, or just before release; high_watermark:
      the kernel's pages_high; touched: distinct pages that were installed at some time
    - installs, duplicate_installs (the loser of a race reported, too), failed_installs, parks (teardown not counted),
      reuses, reclaims, refaults (installs of a page that the shrinker had taken): over the whole observation
    - released bool; observed_from_birth bool: its mapping was seen to be made
    - active_ns, lru_ns: page-time, summed over its pages
    - lost_events: in its gaps; unexplained: events that its pages' states did not allow

    - lru_skips Int64: how often the shrinker gave a page up (LRU_SKIP); NA where its callback was not probed

    Other numbers are int64.
    """
    states = allocs(h)
    columns = {
        column: np.array(
            [getattr(s, field) for s in states], dtype=bool if field in ("released", "from_birth") else "i8"
        )
        for column, field in _COLUMNS.items()
    }
    skips = np.array([s.lru_skips.total for s in states], dtype="i8")
    unseen = np.full(len(states), not h.meta.observes_skips)
    return pd.DataFrame({**keys(h, numbers(states)), **columns, "lru_skips": nullable(skips, unseen, "Int64")})

"""How much of what an alloc reached for it really used."""

from __future__ import annotations

import numpy as np
import pandas as pd

from binder_observe.frames.columns import allocs, keys, numbers, of_history, ratio
from binder_observe.history import History


@of_history
def df_fragmentation(h: History) -> pd.DataFrame:
    """Touched pages against the high watermark: one row an alloc, in the report's order.

    - pid UInt32, comm category, context category, alloc uint32
    - mapping_pages int64; high_watermark int64: highest page index installed so far + 1 (the kernel's pages_high);
      touched int64: distinct pages that were installed at some time
    - held_end int64: pages active or on the LRU at the end, or just before release
    - mean_held Float64: pages held on average over its observation, NA when that has no length
    - use Float64: touched / high_watermark, NA when no page was installed; hole_pages int64: high_watermark - touched
    - observed_from_birth bool: when False, pages that were touched and reclaimed before attach are not counted as
      touched although the watermark remembers them, so `use` is a lower and `hole_pages` an upper bound; so they are
      after lost events
    """
    states = allocs(h)
    high, touched, held, held_ns, observed_ns, mapping = (
        np.array(column, dtype=np.int64)
        for column in (
            [s.high_watermark for s in states],
            [s.touched for s in states],
            [s.active + s.lru for s in states],
            [s.active_ns + s.lru_ns for s in states],
            [s.until_ns - s.first_ns for s in states],
            [s.mapping_pages for s in states],
        )
    )
    return pd.DataFrame(
        {
            **keys(h, numbers(states)),
            "mapping_pages": mapping,
            "high_watermark": high,
            "touched": touched,
            "held_end": held,
            "mean_held": ratio(held_ns, observed_ns),
            "use": ratio(touched, high),
            "hole_pages": high - touched,
            "observed_from_birth": np.array([s.from_birth for s in states], dtype=np.bool_),
        }
    )

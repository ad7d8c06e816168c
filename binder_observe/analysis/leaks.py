"""Which pages look leaked: in use for far longer than their process's pages are. numpy only.

The kernel does not say which buffer holds a page, so this is a suspicion: a page that many buffers share in turn may
stay in use without a leak, and a buffer that is held on purpose (a queue that is full) looks like a leaked one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe.lifetimes import Quantiles

# Ten times as long as all but one in a hundred: a p99 varies by a few times between runs, hardly by ten.
LEAK_TIMES: Final = 10
# A transaction that is handled within a second is no leak, however quick the others are.
LEAK_MIN_NS: Final = 1_000_000_000


def norm_ns(quantiles: Quantiles | None) -> int | None:
    """How long the pages of a process are in use at most, ordinarily: the p99 of its active spans, or the highest
    quantile below it that is known (many leaked pages hide the p99, for their spans go on); None when none is."""
    if quantiles is None:
        return None
    return next((q for q in (quantiles.p99, quantiles.p90, quantiles.p50) if q is not None), None)


def suspects(ages_ns: NDArray[np.int64], norm_ns: int | None) -> NDArray[np.bool_]:
    """Which of the active spans that go on at the end, of the given ages, are suspected: those older than LEAK_TIMES
    times the process's norm and than LEAK_MIN_NS. None when there is no norm."""
    if norm_ns is None:
        return np.zeros(len(ages_ns), dtype=np.bool_)
    return np.asarray(ages_ns > max(LEAK_TIMES * norm_ns, LEAK_MIN_NS))

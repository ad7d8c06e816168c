"""Lives of pages: one row a life, and a bounded-memory summary of how long they are.

A life runs from install to reclaim or release. Durations are in ns of CLOCK_BOOTTIME.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe.rows import Began, Ended

# Durations are kept in log-linear bins, as HdrHistogram does: 2**BIN_BITS bins an octave, so that a quantile is at
# most 1/128 above the true one. (http://hdrhistogram.org)
BIN_BITS: Final = 7


def duration_bin(duration_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bin of each duration (>= 0); durations under 2**BIN_BITS ns have a bin each."""
    d = np.maximum(duration_ns, 0)
    # frexp's exponent is the bit length for these values: float64 may round up only past 2**53 ns (104 days)
    shift = np.maximum(np.frexp(d.astype(np.float64))[1].astype(np.int64) - (BIN_BITS + 1), 0)
    return (shift << BIN_BITS) + (d >> shift)


def bin_upper_ns(index: int) -> int:
    """The longest duration that falls into bin `index`."""
    shift = max((index >> BIN_BITS) - 1, 0)
    return ((index - (shift << BIN_BITS) + 1) << shift) - 1


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Lifetime quantiles in ns; None where too many lives are still going on to tell."""

    p50: int | None
    p90: int | None
    p99: int | None
    max: int  # longest finished life, exact; 0 when none finished


def product_limit(
    ended: dict[int, int], censored: dict[int, int], probabilities: tuple[float, ...]
) -> tuple[int | None, ...]:
    """Quantiles of a duration from finished and censored lives together.

    `ended` and `censored` map a bin to how many lives ended or were censored in it. The estimator is Kaplan and
    Meier's product limit (J. Am. Stat. Assoc. 53, 1958, 457-481): at each bin the survival falls by the share of the
    lives at risk that end there; lives censored in a bin are still at risk in it. The quantile p is the first bin
    with survival <= 1 - p, given by the bin's upper bound; None when survival never falls so far.
    """
    at_risk = sum(ended.values()) + sum(censored.values())
    survival = 1.0
    found: list[int | None] = [None] * len(probabilities)
    for index in sorted(ended.keys() | censored.keys()):
        deaths = ended.get(index, 0)
        if deaths:
            survival *= 1.0 - deaths / at_risk
            for i, p in enumerate(probabilities):
                # the tolerance absorbs rounding of the product, far below one life in any count
                if found[i] is None and survival <= 1.0 - p + 1e-12:
                    found[i] = bin_upper_ns(index)
        at_risk -= deaths + censored.get(index, 0)
    return tuple(found)


class LifetimeSummary:
    """Counts of lives and their durations, by alloc. Memory grows with allocs and distinct bins, never with lives."""

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}  # alloc << 32 | bin << 1 | finished -> lives
        self._max: dict[int, int] = {}
        self._counts: dict[int, NDArray[np.int64]] = {}

    def add(self, lives: NDArray[np.void]) -> None:
        if not len(lives):
            return
        alloc = lives["alloc"].astype(np.int64)
        key = alloc << 8 | lives["began"].astype(np.int64) << 4 | lives["ended"]
        for k, n in zip(*np.unique(key, return_counts=True), strict=True):
            counts = self._counts.setdefault(int(k) >> 8, np.zeros((len(Began), len(Ended)), dtype=np.int64))
            counts[int(k) >> 4 & 0xF, int(k) & 0xF] += n

        # a life whose birth is unknown has no known duration: it is counted above and kept out of the estimate
        born = lives["began"] == Began.INSTALLED
        lives, alloc = lives[born], alloc[born]
        finished = lives["ended"] <= Ended.RELEASED
        duration = lives["end_ns"] - lives["birth_ns"]
        key = alloc << 32 | duration_bin(duration) << 1 | finished
        for k, n in zip(*np.unique(key, return_counts=True), strict=True):
            self._bins[int(k)] = self._bins.get(int(k), 0) + int(n)
        order = np.argsort(alloc[finished], kind="stable")
        ended_alloc, ended_duration = alloc[finished][order], duration[finished][order]
        first = np.flatnonzero(np.diff(ended_alloc, prepend=-1))
        if len(first):
            for a, longest in zip(ended_alloc[first], np.maximum.reduceat(ended_duration, first), strict=True):
                self._max[int(a)] = max(self._max.get(int(a), 0), int(longest))

    def copy(self) -> LifetimeSummary:
        twin = LifetimeSummary()
        twin._bins = dict(self._bins)
        twin._max = dict(self._max)
        twin._counts = {a: c.copy() for a, c in self._counts.items()}
        return twin

    def counts(self, alloc: int) -> NDArray[np.int64]:
        """Lives of the alloc, shape (len(Began), len(Ended))."""
        return self._counts.get(alloc, np.zeros((len(Began), len(Ended)), dtype=np.int64))

    def quantiles(self) -> dict[int, Quantiles]:
        """Per alloc, for every alloc that had a life with a known birth."""
        ended: dict[int, dict[int, int]] = {}
        censored: dict[int, dict[int, int]] = {}
        for key, n in self._bins.items():
            side = ended if key & 1 else censored
            side.setdefault(key >> 32, {})[key >> 1 & 0x7FFF_FFFF] = n
        found = {}
        for alloc in ended.keys() | censored.keys():
            longest = self._max.get(alloc, 0)
            estimates = product_limit(ended.get(alloc, {}), censored.get(alloc, {}), (0.5, 0.9, 0.99))
            # a bin's upper bound may lie above the longest life that ended in it
            p50, p90, p99 = (None if e is None else min(e, longest) for e in estimates)
            found[alloc] = Quantiles(p50, p90, p99, longest)
        return found

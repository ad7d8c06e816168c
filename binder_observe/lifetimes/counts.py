"""What was counted of some allocs, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Final

import numba
import numpy as np
from numba import types

from binder_observe.events import NO_ALLOC
from binder_observe.lifetimes.durations import NONE, PROBABILITIES, Quantiles, bins_upper_ns, product_limit
from binder_observe.lifetimes.histograms import BLOCK_BITS, CENSORED, ENDED, Ints, Sums
from binder_observe.rows import Began, Ended, Outcome


class Measure(IntEnum):
    """What lasts."""

    LIFETIME = 0  # install to reclaim or release; only of lives whose birth was seen
    ACTIVE_SPAN = 1  # one stay in use
    IDLE_SPAN = 2  # one stay on the LRU
    REFAULT_DELAY = 3  # reclaim until the page is installed again; censored when it is not
    INSTALL_LATENCY = 4  # ALLOC_PAGE_START to ALLOC_PAGE_END of installs and duplicates


# Key of a duration: alloc, measure, bin; that of its block is without BLOCK_BITS of the bin. In the place of a
# measure, LIVES counts lives by how they began and ended: `bin` is Began * WAYS_TO_END + Ended.
LIVES: Final = len(Measure)
WAYS_TO_END: Final = len(Ended)
BIN_BITS: Final = 16
MEASURE_BITS: Final = 8
GROUP_BITS: Final = BIN_BITS + MEASURE_BITS  # below the alloc
# Key of a sender: alloc, tgid. Columns of its tally; the last are its attempts by outcome.
TGID_BITS: Final = 32
HELD_NS: Final = 1
USED_NS: Final = 2
ATTEMPTS: Final = 3

MOST_SENDERS: Final = 5

_1D: Final = types.Array(types.int64, 1, "C")


@dataclass(frozen=True, slots=True)
class SenderTotal:
    """What the tasks of one process did to one alloc.

    `held_ns` is the page-time, in use and idle, of the lives that they installed; `used_ns` that of the stays in use
    that they began, by install or reuse. One grows a mapping, the other keeps it busy.
    """

    tgid: int
    held_ns: int
    used_ns: int
    installs: int
    duplicates: int
    failed: int


@dataclass(frozen=True, slots=True)
class Senders:
    """Of one alloc: `most` are the five that installed pages and hold most page-time, `busiest` is the one that keeps
    most pages in use; `n` counts all."""

    most: tuple[SenderTotal, ...] = ()
    busiest: SenderTotal | None = None
    n: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """What `Totals` has counted: durations by bin (ended, censored), the longest that ended by block, what senders
    did; `unlisted` are senders without a row, by alloc."""

    durations: Sums
    longest: Sums
    senders: Sums
    unlisted: Mapping[int, int] = field(default_factory=dict)

    def of(self, alloc: int) -> Counts:
        """A copy of what is counted of one alloc, as that of alloc 0, in few bytes: to keep, and to merge later."""
        return Counts(
            _part(self.durations, alloc, GROUP_BITS), _part(self.longest, alloc, GROUP_BITS - BLOCK_BITS),
            _part(self.senders, alloc, TGID_BITS),
            {NO_ALLOC: self.unlisted[alloc]} if alloc in self.unlisted else {},
        )  # fmt: skip

    def rows_as(self, into: Mapping[int, int]) -> tuple[Ints, Ints, Ints]:
        """Rows (key, sums) of durations, longest and senders, with the number that `into` gives in the place of the
        alloc's."""
        return (
            _renumbered(self.durations, into, GROUP_BITS),
            _renumbered(self.longest, into, GROUP_BITS - BLOCK_BITS),
            _renumbered(self.senders, into, TGID_BITS),
        )

    def ends(self) -> dict[int, Ints]:
        """Lives by alloc, each of shape (len(Began), len(Ended))."""
        keys, sums = self.durations
        rows = np.flatnonzero(keys >> BIN_BITS & ((1 << MEASURE_BITS) - 1) == LIVES)
        found: dict[int, Ints] = {}
        for key, n in zip(keys[rows].tolist(), sums[rows, ENDED].tolist(), strict=True):
            alloc = key >> GROUP_BITS
            if alloc not in found:
                found[alloc] = np.zeros((len(Began), len(Ended)), dtype=np.int64)
            found[alloc][divmod(key & ((1 << BIN_BITS) - 1), WAYS_TO_END)] = n
        return found

    def quantiles(self) -> dict[int, dict[Measure, Quantiles]]:
        """Per alloc, for every measure of which a duration with a known beginning was seen."""
        keys, sums = self.durations
        timed = keys >> BIN_BITS & ((1 << MEASURE_BITS) - 1) < LIVES
        keys, sums = keys[timed], np.ascontiguousarray(sums[timed].T)
        groups = keys >> BIN_BITS
        first = np.flatnonzero(np.diff(groups, prepend=-1))
        if not len(first):
            return {}
        bins = keys & ((1 << BIN_BITS) - 1)
        edges = np.append(first, len(keys))
        limits = np.empty((len(first), len(PROBABILITIES), 3), dtype=np.int64)
        _limits(bins, sums[ENDED], sums[CENSORED], edges, limits)
        longest = self._longest()
        # a bin's upper bound may lie above the longest duration that ended in it
        ns = np.where(limits == NONE, NONE, np.minimum(bins_upper_ns(limits), longest[:, None, None]))
        n = (np.add.reduceat(sums[column], first).tolist() for column in (ENDED, CENSORED))
        found: dict[int, dict[Measure, Quantiles]] = {}
        for group, most, ended, censored, q in zip(
            groups[first].tolist(), longest.tolist(), *n, ns.reshape(len(first), -1).tolist(), strict=True
        ):
            (p50, low50, high50, p90, low90, high90, p99, low99, high99) = [None if v == NONE else v for v in q]
            alloc, measure = divmod(group, 1 << MEASURE_BITS)
            found.setdefault(alloc, {})[Measure(measure)] = Quantiles(
                p50, p90, p99, most, ended + censored, censored,
                *(((low50, high50), (low90, high90), (low99, high99)) if ended else (None, None, None)),
            )  # fmt: skip
        return found

    def _longest(self) -> Ints:
        """Of each alloc and measure that has durations, in order."""
        keys, longest = self.longest
        groups = keys >> (BIN_BITS - BLOCK_BITS)
        timed = groups & ((1 << MEASURE_BITS) - 1) < LIVES
        first = np.flatnonzero(np.diff(groups[timed], prepend=-1))
        return np.asarray(np.maximum.reduceat(longest[timed, 0], first))

    def who_sent(self) -> dict[int, Senders]:
        """Per alloc; pages whose sender is not known (tgid 0) count nowhere."""
        keys, sums = self.senders
        known = (keys & ((1 << TGID_BITS) - 1)) > 0
        keys, sums = keys[known], sums[known]
        found = {alloc: Senders(n=n) for alloc, n in self.unlisted.items()}
        if not len(keys):
            return found
        alloc = keys >> TGID_BITS
        held, used, installs, duplicates = (
            sums[:, column - 1]
            for column in (HELD_NS, USED_NS, ATTEMPTS + Outcome.INSTALLED, ATTEMPTS + Outcome.DUPLICATE)
        )
        by_held = np.lexsort([keys, -held, alloc])
        place = np.empty(len(keys), dtype=np.int64)
        place[by_held] = np.arange(len(keys))
        by_used = np.lexsort([place, -used, alloc])  # of equal ones, that which holds more
        grew = by_held[(held + installs + duplicates)[by_held] > 0]
        edges = np.append(np.flatnonzero(np.diff(alloc, prepend=-1)), len(keys))
        grew_edges = np.searchsorted(alloc[grew], alloc[edges[:-1]], side="left").tolist()
        grew_ends = np.searchsorted(alloc[grew], alloc[edges[:-1]], side="right").tolist()
        for (a, b), begin, end in zip(pairwise(edges.tolist()), grew_edges, grew_ends, strict=True):
            number = int(alloc[a])
            busiest = by_used[a]
            found[number] = Senders(
                tuple(_sender(keys, sums, i) for i in grew[begin : min(end, begin + MOST_SENDERS)].tolist()),
                _sender(keys, sums, busiest) if used[busiest] else None,
                b - a + self.unlisted.get(number, 0),
            )
        return found


def _sender(keys: Ints, sums: Ints, i: int) -> SenderTotal:
    return SenderTotal(int(keys[i]) & ((1 << TGID_BITS) - 1), *sums[i, : ATTEMPTS - 1 + Outcome.IN_FLIGHT].tolist())


def _part(sums: Sums, alloc: int, bits: int) -> Sums:
    a, b = np.searchsorted(sums[0], (alloc << bits, (alloc + 1) << bits))
    return _small(sums[0][a:b] & ((1 << bits) - 1)), _small(sums[1][a:b])


def _small(numbers: Ints) -> Ints:
    """In the fewest bytes that hold them all. Sums of durations can be below 0, for clocks of two processors differ."""
    if numbers.min(initial=0) < 0:
        return numbers.copy()
    return numbers.astype(np.min_scalar_type(numbers.max(initial=0)))


def _renumbered(sums: Sums, into: Mapping[int, int], bits: int) -> Ints:
    keys, of_key = sums[0].astype(np.int64), sums[1]
    numbers = keys >> bits  # ascending
    first = np.flatnonzero(np.diff(numbers, prepend=-1))
    others = np.array([into[n] for n in numbers[first].tolist()], dtype=np.int64)
    rows = np.empty((len(keys), 1 + of_key.shape[1]), dtype=np.int64)
    rows[:, 0] = keys & ((1 << bits) - 1)
    rows[:, 0] |= np.repeat(others << bits, np.diff(first, append=len(keys)))
    rows[:, 1:] = of_key
    return rows


@numba.njit(types.void(_1D, _1D, _1D, _1D, types.Array(types.int64, 3, "C")), cache=True)
def _limits(bins, ended, censored, edges, found):  # type: ignore[no-untyped-def]  # compiled
    """`product_limit` of each group of rows between two edges."""
    for g in range(len(edges) - 1):
        a, b = edges[g], edges[g + 1]
        product_limit(bins[a:b], ended[a:b], censored[a:b], found[g])

"""What a report counts from the tracker's rows. Memory grows with the allocs that are kept, their senders and distinct
bins, never with rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numba
import numpy as np
from numba import types

from binder_observe.events import Kind
from binder_observe.lifetimes.counts import (
    ATTEMPTS,
    BIN_BITS,
    GROUP_BITS,
    HELD_NS,
    LIVES,
    TGID_BITS,
    USED_NS,
    WAYS_TO_END,
    Counts,
    Measure,
)
from binder_observe.lifetimes.durations import bin_of
from binder_observe.lifetimes.histograms import (
    BINS,
    BLOCK_BITS,
    CENSORED,
    ENDED,
    PLACE,
    USED,
    Histograms,
    count,
    place_block,
)
from binder_observe.lifetimes.tally import EMPTY, TABLE, TAKEN, Tally, find, place
from binder_observe.rows import INSTALL, LIFE, SPAN, Began, Ended, Outcome, State
from binder_observe.tracker import Finished
from binder_observe.transitions import KINDS

# What a span measures, by its state and the Kind that began it (-1: nothing, for its beginning is not known), and the
# column that it counts in, by its state and the Kind that ended it. Tables, because a branch on the state, which
# changes from row to row, costs more than all the rest of the loop.
_MEASURE: Final = np.full((len(State), KINDS), -1, dtype=np.int64)
_MEASURE[State.ACTIVE, [Kind.ALLOC_PAGE_END, Kind.ALLOC_LRU_START]] = Measure.ACTIVE_SPAN
_MEASURE[State.LRU, Kind.FREE_LRU_START] = Measure.IDLE_SPAN
_MEASURE[State.FREE, Kind.UNMAP_KERNEL_START] = Measure.REFAULT_DELAY
_COLUMN: Final = np.full((len(State), KINDS), ENDED, dtype=np.int64)
_COLUMN[:, [Kind.LOST, Kind.DETACH]] = CENSORED
_COLUMN[State.FREE] = CENSORED
_COLUMN[State.FREE, Kind.ALLOC_PAGE_END] = ENDED

# Beyond so many rows senders are thinned out, for a server that lives long is sent to by tens of thousands of processes
# that do not. So many of each alloc's stay that the first five of a report do.
MANY_SENDERS: Final = 1 << 14
LISTED_SENDERS: Final = 64


@numba.njit(cache=True, inline="always")
def _duration_key(alloc, measure, duration):  # type: ignore[no-untyped-def]  # compiled
    return (np.int64(alloc) << GROUP_BITS) | (np.int64(measure) << BIN_BITS) | bin_of(duration)


@numba.njit(cache=True, inline="always")
def _end_key(alloc, began, ended):  # type: ignore[no-untyped-def]
    return (np.int64(alloc) << GROUP_BITS) | (LIVES << BIN_BITS) | (began * WAYS_TO_END + ended)


def _loop(dtype: Any) -> Any:
    """The signature of a loop over rows: (rows, i, blocks, used, bins, n_places, senders, n_senders) -> i."""
    rows = types.Array(numba.from_dtype(dtype), 1, "C")
    return types.int64(rows, types.int64, TABLE, USED, BINS, USED, TABLE, USED)


@numba.njit(_loop(LIFE), cache=True, nogil=True)
def _add_lives(lives, i, blocks, used, bins, n_places, senders, n_senders):  # type: ignore[no-untyped-def]
    """Lives from row `i` on; returns the next row: not the last, when something has to grow first."""
    while i < len(lives):
        life = lives[i]
        j = place(senders, n_senders, (np.int64(life.alloc) << TGID_BITS) | life.installer)
        end_key = _end_key(life.alloc, life.began, life.ended)
        end = place_block(blocks, used, bins, n_places, end_key)
        if j < 0 or end < 0:
            break
        # a life whose birth is unknown has no known duration: it is counted and kept out of the estimate
        if life.began == Began.INSTALLED:
            duration = life.end_ns - life.birth_ns
            key = _duration_key(life.alloc, Measure.LIFETIME, duration)
            k = place_block(blocks, used, bins, n_places, key)
            if k < 0:
                break
            count(blocks, bins, k, key, ENDED if life.ended <= Ended.RELEASED else CENSORED, duration)
        senders[j, HELD_NS] += life.active_ns + life.lru_ns
        count(blocks, bins, end, end_key, ENDED, 0)
        i += 1
    return i


@numba.njit(_loop(SPAN), cache=True, nogil=True)
def _count_spans(spans, i, blocks, used, bins, n_places, senders, n_senders):  # type: ignore[no-untyped-def]
    """Spans whose beginning is known, from row `i` on; returns the first whose block or sender has no row yet.

    Nearly every event ends a span, so this loop is the one that must be fast: a call in it that takes an array would
    cost more than all the rest, because numba counts the references to it.
    """
    while i < len(spans):
        span = spans[i]
        measure = _MEASURE[span.state, span.began]
        if measure >= 0:
            duration = span.until_ns - span.since_ns
            key = _duration_key(span.alloc, measure, duration)
            k = find(blocks, key >> BLOCK_BITS)
            if blocks[k, 0] == EMPTY or blocks[k, PLACE] == 0:
                break
            if measure == Measure.ACTIVE_SPAN:
                j = find(senders, (np.int64(span.alloc) << TGID_BITS) | span.starter)
                if senders[j, 0] == EMPTY:
                    break
                senders[j, USED_NS] += duration
            count(blocks, bins, k, key, _COLUMN[span.state, span.ended], duration)
        i += 1
    return i


@numba.njit(_loop(SPAN), cache=True, nogil=True)
def _add_spans(spans, i, blocks, used, bins, n_places, senders, n_senders):  # type: ignore[no-untyped-def]
    """Spans from row `i` on; returns the next row, as `_add_lives` does."""
    while True:
        i = _count_spans(spans, i, blocks, used, bins, n_places, senders, n_senders)
        if i == len(spans):
            return i
        span = spans[i]
        measure = _MEASURE[span.state, span.began]
        key = _duration_key(span.alloc, measure, span.until_ns - span.since_ns)
        if place_block(blocks, used, bins, n_places, key) < 0:
            return i
        starter = (np.int64(span.alloc) << TGID_BITS) | span.starter
        if measure == Measure.ACTIVE_SPAN and place(senders, n_senders, starter) < 0:
            return i


@numba.njit(_loop(INSTALL), cache=True, nogil=True)
def _add_installs(installs, i, blocks, used, bins, n_places, senders, n_senders):  # type: ignore[no-untyped-def]
    """Attempts from row `i` on; returns the next row, as `_add_lives` does."""
    while i < len(installs):
        attempt = installs[i]
        j = place(senders, n_senders, (np.int64(attempt.alloc) << TGID_BITS) | attempt.tgid)
        if j < 0:
            break
        if attempt.outcome <= Outcome.DUPLICATE and attempt.start_ns >= 0:
            latency = attempt.end_ns - attempt.start_ns
            key = _duration_key(attempt.alloc, Measure.INSTALL_LATENCY, latency)
            k = place_block(blocks, used, bins, n_places, key)
            if k < 0:
                break
            count(blocks, bins, k, key, ENDED, latency)
        senders[j, ATTEMPTS + attempt.outcome] += 1
        i += 1
    return i


@numba.njit(types.int64(TABLE, types.int64, TABLE, USED), cache=True)
def _merge_senders(rows, i, table, used):  # type: ignore[no-untyped-def]
    """Rows (key, sums) from row `i` on; returns the next row, as `_add_lives` does."""
    while i < len(rows):
        k = place(table, used, rows[i, 0])
        if k < 0:
            break
        for column in range(1, rows.shape[1]):
            table[k, column] += rows[i, column]
        i += 1
    return i


class Totals:
    """Feed it every row, once, in any order."""

    def __init__(self) -> None:
        self._durations = Histograms()
        self._senders = Tally(ATTEMPTS - 1 + len(Outcome))
        self._unlisted: dict[int, int] = {}  # alloc -> senders that are only counted
        self._many_senders = MANY_SENDERS

    def add(self, rows: Finished) -> None:
        """Counts rows of the tracker."""
        if self._senders.used[0] > self._many_senders:
            self._thin_out()
        for what, loop in ((rows.lives, _add_lives), (rows.spans, _add_spans), (rows.installs, _add_installs)):
            done = 0
            while True:
                done = loop(what, done, *self._durations.arrays, self._senders.table, self._senders.used)
                if done == len(what):
                    break
                self._grow()

    def merge(self, counts: Counts, into: Mapping[int, int]) -> None:
        """Counts what was counted elsewhere: that of each alloc under the number `into` gives for it."""
        bins, longest, senders = counts.rows_as(into)
        self._durations.merge(bins, longest)
        done = 0
        while (done := _merge_senders(senders, done, self._senders.table, self._senders.used)) < len(senders):
            self._senders.grow()
        for alloc, n in counts.unlisted.items():
            self._unlisted[into[alloc]] = self._unlisted.get(into[alloc], 0) + n

    def merge_durations(self, counts: Counts) -> None:
        """Counts the durations of all its allocs together, as those of alloc 0."""
        parts = ((counts.durations, GROUP_BITS), (counts.longest, GROUP_BITS - BLOCK_BITS))
        self._durations.merge(*(np.column_stack([keys & ((1 << bits) - 1), sums]) for (keys, sums), bits in parts))

    def _grow(self) -> None:
        """Makes room for what a loop has met."""
        self._durations.grow()
        if self._senders.full:
            self._senders.grow()

    def _thin_out(self) -> None:
        """Of each alloc's senders keeps those that hold, use, or have installed most; the others are only counted, and
        one that is met again is counted again."""
        table = self._senders.table
        at = np.flatnonzero(table[:, 0] >= 0)
        alloc = table[at, 0] >> TGID_BITS
        kept = (table[at, 0] & ((1 << TGID_BITS) - 1)) == 0  # that of pages whose sender is not known
        for column in (HELD_NS, USED_NS, ATTEMPTS + Outcome.INSTALLED):
            order = np.lexsort([at, -table[at, column], alloc])
            first = np.flatnonzero(np.diff(alloc[order], prepend=-1))
            rank = np.arange(len(order)) - np.repeat(first, np.diff([*first, len(order)]))
            kept[order[rank < LISTED_SENDERS]] = True
        table[at[~kept], 0] = TAKEN
        for number, n in zip(*np.unique(alloc[~kept], return_counts=True), strict=True):
            self._unlisted[int(number)] = self._unlisted.get(int(number), 0) + int(n)
        self._senders.grow()
        self._many_senders = max(MANY_SENDERS, 2 * int(self._senders.used[0]))

    def take(self, allocs: Iterable[int]) -> Counts:
        """Takes out what was counted of these allocs."""
        numbers = np.array(sorted(allocs), dtype=np.int64)
        durations = self._durations.take(numbers, GROUP_BITS)
        senders = self._senders.take(numbers, TGID_BITS)
        unlisted = {n: self._unlisted.pop(n) for n in numbers.tolist() if n in self._unlisted}
        return Counts(*durations, senders, unlisted)

    def counts(self) -> Counts:
        """As of now."""
        return Counts(*self._durations.rows(), self._senders.rows(), dict(self._unlisted))

    def copy(self) -> Totals:
        twin = Totals()
        twin._durations, twin._senders = self._durations.copy(), self._senders.copy()
        twin._unlisted = dict(self._unlisted)
        return twin

"""What a report counts from the tracker's rows. Memory grows with allocs, their senders and distinct bins, never with
rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Any, Final

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from binder_observe.events import Kind
from binder_observe.lifetimes.durations import Quantiles, bin_of, quantiles
from binder_observe.lifetimes.tally import TABLE, Tally, home, place
from binder_observe.rows import INSTALL, LIFE, SPAN, Began, Ended, Outcome, State
from binder_observe.tracker import Finished
from binder_observe.transitions import KINDS


class Measure(IntEnum):
    """What lasts."""

    LIFETIME = 0  # install to reclaim or release; only of lives whose birth was seen
    ACTIVE_SPAN = 1  # one stay in use
    IDLE_SPAN = 2  # one stay on the LRU
    REFAULT_DELAY = 3  # reclaim until the page is installed again; censored when it is not
    INSTALL_LATENCY = 4  # ALLOC_PAGE_START to ALLOC_PAGE_END of installs and duplicates


# Key of a duration: alloc, measure, bin. Columns of its tally.
_BIN_BITS: Final = 16
_MEASURE_BITS: Final = 8
_ENDED: Final = 1
_CENSORED: Final = 2

# Key of a sender: alloc, tgid. Columns of its tally; the last are its attempts by outcome.
_TGID_BITS: Final = 32
_HELD_NS: Final = 1
_USED_NS: Final = 2
_ATTEMPTS: Final = 3

# What a span measures, by its state and the Kind that began it (-1: nothing, for its beginning is not known), and the
# column that it counts in, by its state and the Kind that ended it. Tables, because a branch on the state, which
# changes from row to row, costs more than all the rest of the loop.
_MEASURE: Final = np.full((len(State), KINDS), -1, dtype=np.int64)
_MEASURE[State.ACTIVE, [Kind.ALLOC_PAGE_END, Kind.ALLOC_LRU_START]] = Measure.ACTIVE_SPAN
_MEASURE[State.LRU, Kind.FREE_LRU_START] = Measure.IDLE_SPAN
_MEASURE[State.FREE, Kind.UNMAP_KERNEL_START] = Measure.REFAULT_DELAY
_COLUMN: Final = np.full((len(State), KINDS), _ENDED, dtype=np.int64)
_COLUMN[:, [Kind.LOST, Kind.DETACH]] = _CENSORED
_COLUMN[State.FREE] = _CENSORED
_COLUMN[State.FREE, Kind.ALLOC_PAGE_END] = _ENDED

_USED: Final = types.Array(types.int64, 1, "C")
_ENDS: Final = types.Array(types.int64, 3, "C")


def _rows(dtype: Any) -> Any:
    return types.Array(numba.from_dtype(dtype), 1, "C")


@numba.njit(cache=True, inline="always")
def _duration_key(alloc, measure, duration):  # type: ignore[no-untyped-def]  # compiled
    return (np.int64(alloc) << (_BIN_BITS + _MEASURE_BITS)) | (np.int64(measure) << _BIN_BITS) | bin_of(duration)


@numba.njit(cache=True, inline="always")
def _count(table, i, column, longest, alloc, measure, duration):  # type: ignore[no-untyped-def]
    table[i, column] += 1
    if duration > longest[alloc, measure] and column == _ENDED:
        longest[alloc, measure] = duration


@numba.njit(types.int64(_rows(LIFE), types.int64, TABLE, _USED, TABLE, _USED, TABLE, _ENDS), cache=True)
def _add_lives(lives, i, table, used, senders, n_senders, longest, ends):  # type: ignore[no-untyped-def]
    """Lives from row `i` on; returns the next row: not the last, when something has to grow first."""
    while i < len(lives):
        life = lives[i]
        if life.alloc >= len(longest):
            break
        j = place(senders, n_senders, (np.int64(life.alloc) << _TGID_BITS) | life.installer)
        if j < 0:
            break
        # a life whose birth is unknown has no known duration: it is counted and kept out of the estimate
        if life.began == Began.INSTALLED:
            duration = life.end_ns - life.birth_ns
            k = place(table, used, _duration_key(life.alloc, Measure.LIFETIME, duration))
            if k < 0:
                break
            column = _ENDED if life.ended <= Ended.RELEASED else _CENSORED
            _count(table, k, column, longest, life.alloc, Measure.LIFETIME, duration)
        senders[j, _HELD_NS] += life.active_ns + life.lru_ns
        ends[life.alloc, life.began, life.ended] += 1
        i += 1
    return i


@numba.njit(types.int64(_rows(SPAN), types.int64, TABLE, _USED, TABLE, _USED, TABLE), cache=True)
def _add_spans(spans, i, table, used, senders, n_senders, longest):  # type: ignore[no-untyped-def]
    """Spans whose beginning is known, from row `i` on; returns the next row, as `_add_lives` does.

    Nearly every event ends a span, so this loop is the one that must be fast: it calls nothing that takes an array in
    the ordinary turn, because numba counts the references to it.
    """
    mask = len(table) - 1
    sender_mask = len(senders) - 1
    while i < len(spans):
        span = spans[i]
        if span.alloc >= len(longest):
            break
        measure = _MEASURE[span.state, span.began]
        if measure >= 0:
            duration = span.until_ns - span.since_ns
            key = _duration_key(span.alloc, measure, duration)
            k = home(key, mask)
            if table[k, 0] != key:
                k = place(table, used, key)
                if k < 0:
                    break
            if measure == Measure.ACTIVE_SPAN:
                key = (np.int64(span.alloc) << _TGID_BITS) | span.starter
                j = home(key, sender_mask)
                if senders[j, 0] != key:
                    j = place(senders, n_senders, key)
                    if j < 0:
                        break
                senders[j, _USED_NS] += duration
            column = _COLUMN[span.state, span.ended]
            table[k, column] += 1
            if duration > longest[span.alloc, measure] and column == _ENDED:
                longest[span.alloc, measure] = duration
        i += 1
    return i


@numba.njit(types.int64(_rows(INSTALL), types.int64, TABLE, _USED, TABLE, _USED, TABLE), cache=True)
def _add_installs(installs, i, table, used, senders, n_senders, longest):  # type: ignore[no-untyped-def]
    """Attempts from row `i` on; returns the next row, as `_add_lives` does."""
    while i < len(installs):
        attempt = installs[i]
        if attempt.alloc >= len(longest):
            break
        j = place(senders, n_senders, (np.int64(attempt.alloc) << _TGID_BITS) | attempt.tgid)
        if j < 0:
            break
        if attempt.outcome <= Outcome.DUPLICATE and attempt.start_ns >= 0:
            latency = attempt.end_ns - attempt.start_ns
            k = place(table, used, _duration_key(attempt.alloc, Measure.INSTALL_LATENCY, latency))
            if k < 0:
                break
            _count(table, k, _ENDED, longest, attempt.alloc, Measure.INSTALL_LATENCY, latency)
        senders[j, _ATTEMPTS + attempt.outcome] += 1
        i += 1
    return i


@dataclass(frozen=True, slots=True)
class SenderTotal:
    """What the tasks of one process (0: unknown) did to one alloc.

    `held_ns` is the page-time, in use and idle, of the lives that they installed; `used_ns` that of the stays in use
    that they began, by install or reuse. One grows a mapping, the other keeps it busy.
    """

    tgid: int
    held_ns: int
    used_ns: int
    installs: int
    duplicates: int
    failed: int


class Totals:
    """Feed it every row, once, in any order."""

    def __init__(self) -> None:
        self._durations = Tally(2)
        self._senders = Tally(_ATTEMPTS - 1 + len(Outcome))
        self._longest = np.zeros((64, len(Measure)), dtype=np.int64)  # by alloc; of durations that ended
        self._ends = np.zeros((64, len(Began), len(Ended)), dtype=np.int64)  # lives by alloc

    def add(self, rows: Finished) -> None:
        """Counts rows of the tracker."""
        done = 0
        while (done := self._lives(rows.lives, done)) < len(rows.lives):
            self._grow(int(rows.lives["alloc"][done]))
        done = 0
        while (done := self._spans(rows.spans, done)) < len(rows.spans):
            self._grow(int(rows.spans["alloc"][done]))
        done = 0
        while (done := self._installs(rows.installs, done)) < len(rows.installs):
            self._grow(int(rows.installs["alloc"][done]))

    def _lives(self, rows: NDArray[np.void], done: int) -> int:
        d, s = self._durations, self._senders
        return _add_lives(rows, done, d.table, d.used, s.table, s.used, self._longest, self._ends)  # type: ignore[no-any-return]

    def _spans(self, rows: NDArray[np.void], done: int) -> int:
        d, s = self._durations, self._senders
        return _add_spans(rows, done, d.table, d.used, s.table, s.used, self._longest)  # type: ignore[no-any-return]

    def _installs(self, rows: NDArray[np.void], done: int) -> int:
        d, s = self._durations, self._senders
        return _add_installs(rows, done, d.table, d.used, s.table, s.used, self._longest)  # type: ignore[no-any-return]

    def _grow(self, alloc: int) -> None:
        """Makes room for what a loop has met."""
        for tally in (self._durations, self._senders):
            if tally.full:
                tally.grow()
        if alloc >= len(self._longest):
            more = max(alloc + 1, 2 * len(self._longest)) - len(self._longest)
            self._longest = np.pad(self._longest, ((0, more), (0, 0)))
            self._ends = np.pad(self._ends, ((0, more), (0, 0), (0, 0)))

    def copy(self) -> Totals:
        twin = Totals()
        twin._durations, twin._senders = self._durations.copy(), self._senders.copy()
        twin._longest, twin._ends = self._longest.copy(), self._ends.copy()
        return twin

    def ends(self, alloc: int) -> NDArray[np.int64]:
        """Lives of the alloc, shape (len(Began), len(Ended))."""
        return self._ends[alloc] if alloc < len(self._ends) else np.zeros(self._ends.shape[1:], dtype=np.int64)

    def senders(self) -> dict[int, list[SenderTotal]]:
        """Per alloc, the processes that sent to it, that which holds most page-time first."""
        found: dict[int, list[SenderTotal]] = {}
        for key, sums in zip(*(part.tolist() for part in self._senders.rows()), strict=True):
            tgid = key & ((1 << _TGID_BITS) - 1)
            found.setdefault(key >> _TGID_BITS, []).append(
                SenderTotal(tgid, *sums[: _ATTEMPTS - 1 + Outcome.IN_FLIGHT])
            )
        for rows in found.values():
            rows.sort(key=lambda row: (-row.held_ns, row.tgid))
        return found

    def quantiles(self) -> dict[int, dict[Measure, Quantiles]]:
        """Per alloc, for every measure of which a duration with a known beginning was seen."""
        keys, sums = self._durations.rows()
        found: dict[int, dict[Measure, Quantiles]] = {}
        for group, q in _by_group(keys, sums, lambda alloc, measure: int(self._longest[alloc, measure])).items():
            alloc, measure = divmod(group, 1 << _MEASURE_BITS)
            found.setdefault(alloc, {})[Measure(measure)] = q
        return found

    def overall(self) -> dict[Measure, Quantiles]:
        """The same over all allocs."""
        keys, sums = self._durations.rows()
        keys, place = np.unique(keys & ((1 << (_BIN_BITS + _MEASURE_BITS)) - 1), return_inverse=True)
        merged = np.zeros((len(keys), sums.shape[1]), dtype=np.int64)
        np.add.at(merged, place, sums)
        longest = self._longest.max(axis=0)
        return {Measure(m): q for m, q in _by_group(keys, merged, lambda _, measure: int(longest[measure])).items()}


def _by_group(keys: NDArray[np.int64], sums: NDArray[np.int64], longest: Any) -> dict[int, Quantiles]:
    """The quantiles of each alloc and measure among sorted keys, by the key without its bin."""
    groups = keys >> _BIN_BITS
    bins = keys & ((1 << _BIN_BITS) - 1)
    ended, censored = sums[:, _ENDED - 1].copy(), sums[:, _CENSORED - 1].copy()
    edges = [*np.flatnonzero(np.diff(groups, prepend=-1)).tolist(), len(keys)]
    found = {}
    for a, b in pairwise(edges):
        group = int(groups[a])
        most = longest(*divmod(group, 1 << _MEASURE_BITS))
        found[group] = quantiles(bins[a:b], ended[a:b], censored[a:b], most)
    return found

"""Sums by key, for counting in compiled loops: an open-addressing hash table of int64."""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

EMPTY: Final = -1
TAKEN: Final = -2  # a key was here: those that found this place taken stand behind it
_SPREAD: Final = -7046029254386353131  # 2**64 / golden ratio, odd (Knuth, TAOCP 3, 6.4)


@numba.njit(cache=True, inline="always")
def find(table, key):  # type: ignore[no-untyped-def]  # compiled
    """The row of `key`, or the empty one where it would be."""
    mask = len(table) - 1
    product = key * _SPREAD
    i = (product ^ (product >> 32)) & mask
    while table[i, 0] != key and table[i, 0] != EMPTY:
        i = (i + 1) & mask
    return i


@numba.njit(cache=True)
def place(table, used, key):  # type: ignore[no-untyped-def]
    """The row of `key` (>= 0) in the table, made where there was none; -1 when the table has to grow first."""
    i = find(table, key)
    if table[i, 0] == EMPTY:
        if 2 * used[0] >= len(table):
            return -1
        table[i, 0] = key
        used[0] += 1
    return i


TABLE: Final = types.Array(types.int64, 2, "C")


@numba.njit(types.void(TABLE, TABLE, types.Array(types.int64, 1, "C")), cache=True)
def _move(table, larger, used):  # type: ignore[no-untyped-def]
    for row in table:
        if row[0] >= 0:
            larger[place(larger, used, row[0])] = row


class Tally:
    """Some sums for each key that was met. Memory grows with the distinct keys that it holds.

    Compiled loops take `table`, with the key in its first column and the sums after it, and `used`, the number of rows
    that are not empty; they stop when `place` has no place, and go on after `grow`.
    """

    def __init__(self, sums: int, capacity: int = 1 << 10) -> None:
        self.table = _empty(capacity, sums)
        self.used = np.zeros(1, dtype=np.int64)

    @property
    def full(self) -> bool:
        return bool(2 * self.used[0] >= len(self.table))

    def grow(self) -> None:
        """Makes room; where many keys were taken out, without a larger table, or with a smaller one."""
        held = int(np.count_nonzero(self.table[:, 0] >= 0))
        capacity = len(self.table)
        while 4 * held > capacity:
            capacity *= 2
        while capacity > 1024 and 16 * held < capacity:
            capacity //= 2
        larger = _empty(capacity, self.table.shape[1] - 1)
        self.used[0] = 0
        _move(self.table, larger, self.used)
        self.table = larger

    def copy(self) -> Tally:
        twin = Tally(0, 0)
        twin.table, twin.used = self.table.copy(), self.used.copy()
        return twin

    def rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The keys in ascending order, and the sums of each, shape (keys, sums)."""
        return _sorted(self.table[self.table[:, 0] >= 0])

    def take(self, numbers: NDArray[np.int64], bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Takes out the keys that have one of the `numbers` (>= 0) above their lowest `bits`; returns them as `rows()`
        does."""
        which = np.isin(self.table[:, 0] >> bits, numbers)
        taken = self.table[which]
        self.table[which, 0] = TAKEN
        return _sorted(taken)


def _sorted(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows = rows[np.argsort(rows[:, 0])]
    return rows[:, 0].copy(), rows[:, 1:].copy()


def _empty(capacity: int, sums: int) -> NDArray[np.int64]:
    table = np.zeros((capacity, 1 + sums), dtype=np.int64)
    table[:, 0] = EMPTY
    return table

"""Counts of durations by key and bin, for counting in compiled loops.

Bins lie in blocks, for durations come near each other: one row of a hash table finds many of them.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from binder_observe.lifetimes.tally import TABLE, Tally, place

# Columns of a block's row, after its key; those of a bin.
PLACE: Final = 1  # where its bins are; 0: nowhere yet
LONGEST: Final = 2  # of the durations that ended
ENDED: Final = 0
CENSORED: Final = 1

BLOCK_BITS: Final = 4  # 16 bins: 256 bytes, an eighth of an octave
_FEW: Final = 64
Ints = NDArray[np.int64]
Sums = tuple[Ints, Ints]  # keys, ascending; sums of each
BINS: Final = types.Array(types.int64, 3, "C")
USED: Final = types.Array(types.int64, 1, "C")


@numba.njit(cache=True)
def place_block(blocks, used, bins, n_places, bin_key):  # type: ignore[no-untyped-def]  # compiled
    """The row of the block that the bin is in, made where there was none; -1 when something has to grow first."""
    i = place(blocks, used, bin_key >> BLOCK_BITS)
    if i >= 0 and blocks[i, PLACE] == 0:
        if n_places[0] == len(bins):
            return -1
        blocks[i, PLACE] = n_places[0]
        n_places[0] += 1
    return i


@numba.njit(cache=True, inline="always")
def count(blocks, bins, i, bin_key, column, duration):  # type: ignore[no-untyped-def]
    """Counts a duration in the block that is row `i`."""
    bins[blocks[i, PLACE], bin_key & ((1 << BLOCK_BITS) - 1), column] += 1
    if column == ENDED and duration > blocks[i, LONGEST]:
        blocks[i, LONGEST] = duration


@numba.njit(types.int64(TABLE, types.int64, TABLE, USED, BINS, USED), cache=True)
def _merge_bins(rows, row, blocks, used, bins, n_places):  # type: ignore[no-untyped-def]
    """Adds rows (key, ended, censored) from `row` on; returns the next: not the last, when something has to grow."""
    i, block = -1, -1
    while row < len(rows):
        key = rows[row, 0]
        if key >> BLOCK_BITS != block:
            i, block = place_block(blocks, used, bins, n_places, key), key >> BLOCK_BITS
        if i < 0:
            break
        for column in (ENDED, CENSORED):
            bins[blocks[i, PLACE], key & ((1 << BLOCK_BITS) - 1), column] += rows[row, 1 + column]
        row += 1
    return row


@numba.njit(types.void(TABLE, TABLE, USED, BINS, USED), cache=True)
def _merge_longest(rows, blocks, used, bins, n_places):  # type: ignore[no-untyped-def]
    """Of blocks that are there."""
    for row in rows:
        i = place_block(blocks, used, bins, n_places, row[0] << BLOCK_BITS)
        blocks[i, LONGEST] = max(blocks[i, LONGEST], row[1])


class Histograms:
    """Memory grows with the distinct blocks that it holds.

    Compiled loops take `arrays`; they stop when `place_block` has no row, and go on after `grow`.
    """

    def __init__(self) -> None:
        self._blocks = Tally(LONGEST)
        self._bins = np.zeros((_FEW, 1 << BLOCK_BITS, 2), dtype=np.int64)
        self._n_places = np.ones(1, dtype=np.int64)

    @property
    def arrays(self) -> tuple[Ints, Ints, Ints, Ints]:
        return self._blocks.table, self._blocks.used, self._bins, self._n_places

    def grow(self) -> None:
        """Makes room where there is none; places whose blocks were taken out are used again."""
        if self._blocks.full:
            self._blocks.grow()
        if self._n_places[0] < len(self._bins):
            return
        table = self._blocks.table
        held = np.flatnonzero((table[:, 0] >= 0) & (table[:, PLACE] > 0))
        room = _FEW
        while room < 2 * (len(held) + 1):
            room *= 2
        bins = np.zeros((room, *self._bins.shape[1:]), dtype=np.int64)
        bins[1 : len(held) + 1] = self._bins[table[held, PLACE]]
        table[held, PLACE] = np.arange(1, len(held) + 1)
        self._bins = bins
        self._n_places[0] = len(held) + 1

    def merge(self, bins: Ints, longest: Ints) -> None:
        """Adds what `rows` or `take` told: rows (key, ended, censored), and rows (key of the block, longest)."""
        row = 0
        while (row := _merge_bins(bins, row, *self.arrays)) < len(bins):
            self.grow()
        _merge_longest(longest, *self.arrays)

    def rows(self) -> tuple[Sums, Sums]:
        """Keys of bins, ascending, and what is counted in each, shape (bins, 2); keys of their blocks, and the longest
        duration that ended in each, shape (blocks, 1)."""
        return self._told(*self._blocks.rows())

    def take(self, numbers: Ints, bits: int) -> tuple[Sums, Sums]:
        """Takes out the bins whose keys have one of the `numbers` above their lowest `bits`, which are those of whole
        blocks at least; returns them as `rows` does."""
        return self._told(*self._blocks.take(numbers, bits - BLOCK_BITS))

    def copy(self) -> Histograms:
        twin = Histograms()
        twin._blocks, twin._bins, twin._n_places = self._blocks.copy(), self._bins.copy(), self._n_places.copy()
        return twin

    def _told(self, keys: Ints, blocks: Ints) -> tuple[Sums, Sums]:
        bins = self._bins[blocks[:, PLACE - 1]]
        block, within = np.nonzero(bins[:, :, ENDED] | bins[:, :, CENSORED])
        return ((keys[block] << BLOCK_BITS) | within, bins[block, within]), (keys, blocks[:, LONGEST - 1 :])

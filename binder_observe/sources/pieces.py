"""Makes one stream of the pieces of a rotated recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from binder_observe.events import DTYPE, GOES_ON, NO_ALLOC, EventBatch, Kind, concat, from_records
from binder_observe.sources import Piece

_MOST: Final = (1 << 32) - 1  # in one LOST row


class Joint:
    """Give it every piece that there is, by index.

    What comes out is what was recorded, row for row: the rows that only make a piece readable alone are left out. Where
    events are not there, a LOST row of alloc 0 says how many, and the next piece's opening is what is known again.
    `notes` are sentences on what is not there.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._index = 0  # of the last piece
        self._happened = 0  # the kernel's events up to its end, as far as they were read, and those known to be lost
        self._live: set[int] = set()

    def join(self, piece: Piece, batches: Iterable[EventBatch], *, torn: bool, last: bool) -> Iterator[EventBatch]:
        """The rows of `piece`; `torn`: the one before it could not be read to its end; `last`: none comes after it."""
        left_out = missing = 0
        if not self._index:
            self._happened = piece.before
            if piece.index > 1:
                self.notes.append(
                    f"the recording begins with its piece {piece.index}: {piece.before} events before it are not there"
                )
        else:
            left_out = piece.opening
            missing = self._missing(piece)
            torn = torn or missing > 0 or piece.index > self._index + 1
        head: list[EventBatch] = []
        self._index = piece.index
        for whole in batches:
            batch = whole
            if left_out:
                head.append(batch.slice(0, left_out))
                batch = batch.slice(left_out, len(batch))
                left_out -= len(head[-1])
                if torn and not left_out:
                    yield self._mend(concat(head), missing, complete=True)
            goes_on = len(batch) and batch.kind[-1] == Kind.DETACH and batch.page[-1] == GOES_ON
            if goes_on and last:
                self.notes.append(f"the recording goes on after its piece {piece.index}, the last one that is there")
            elif goes_on:
                batch = batch.slice(0, len(batch) - 1)
            self._count(batch)
            yield batch
        if torn and left_out and head:
            yield self._mend(concat(head), missing, complete=False)

    def _missing(self, piece: Piece) -> int:
        """How many events come between the last piece, as far as it was read, and this one."""
        missing = max(piece.before - self._happened, 0)
        a, b = self._index + 1, piece.index - 1
        if a <= b:
            which = f"piece {a} is" if a == b else f"pieces {a} to {b} are"
            self.notes.append(f"{which} not there: {missing} events are missing")
        elif missing:
            self.notes.append(f"{missing} events at the end of piece {self._index} are missing")
        self._happened = piece.before
        return missing

    def _mend(self, opening: EventBatch, missing: int, *, complete: bool) -> EventBatch:
        """A gap, and what is known after it: allocs that a complete opening does not have were released meanwhile."""
        now = int(opening.ts_ns[0])
        described = set(opening.alloc[opening.kind == Kind.ALLOC].tolist())
        gone = sorted(self._live - described) if complete else []
        missing -= len(gone)  # their releases are rows again
        rows = [(now, Kind.LOST, NO_ALLOC, min(missing - n, _MOST), 0, 0, 0) for n in range(0, missing, _MOST)]
        rows += [(now, Kind.RELEASE_END, alloc, 0, 0, 0, 0) for alloc in gone]
        self._live = described
        return concat([from_records(np.array(rows, dtype=DTYPE)), opening])

    def _count(self, batch: EventBatch) -> None:
        self._happened += batch.kernel_events + batch.lost_events
        kind = batch.kind
        described = (kind == int(Kind.ALLOC)) | (kind == int(Kind.MMAP))
        for row in np.flatnonzero(described | (kind == int(Kind.RELEASE_END))):
            alloc = int(batch.alloc[row])
            if kind[row] == Kind.RELEASE_END:
                self._live.discard(alloc)
            else:
                self._live.add(alloc)

"""Recordings in pieces, for tests: cut where the test says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from binder_observe.events import EventBatch, concat
from binder_observe.observation import Observation
from binder_observe.recording import RecordingReader
from binder_observe.recording.pieces import pieces_of
from binder_observe.rotation import PieceWriter, Rotation
from binder_observe.sources import Meta
from binder_observe.sources.recording import RecordingSource
from tests.build import META


class Cutter:
    """A `PieceWriter`, and the observation beside it, that begins a new piece when `cut()` is called."""

    def __init__(self, path: Path, meta: Meta = META, *, keep: int | None = None, force: bool = False) -> None:
        self.now = 0.0
        self.observed = Observation(meta)
        self.writer = PieceWriter(path, meta, Rotation(time_s=1, keep=keep), force=force, clock=lambda: self.now)

    def write(self, batch: EventBatch) -> None:
        self.writer.write(batch)
        self.observed.feed(batch)

    def cut(self) -> None:
        self.now += 1
        self.writer.turn(self.observed)


def between(whole: EventBatch, cuts: Iterable[int]) -> Iterator[EventBatch]:
    """The rows before the first cut, those from there to the second, and so on."""
    edges = [0, *sorted({min(cut, len(whole)) for cut in cuts}), len(whole)]
    for a, b in pairwise(edges):
        yield whole.slice(a, b)


def record(
    path: Path, parts: Iterable[EventBatch], meta: Meta = META, *, keep: int | None = None, force: bool = False
) -> list[str]:
    """Each part in a piece of its own, but those without events go with the next one."""
    cutter = Cutter(path, meta, keep=keep, force=force)
    with cutter.writer:
        for n, part in enumerate(parts):
            if n:
                cutter.cut()
            cutter.write(part)
    return pieces_of(str(path))


def rows(*paths: str | Path) -> EventBatch:
    """All that is read, as one batch."""
    source = RecordingSource(*paths)
    try:
        return concat(source.batches())
    finally:
        source.close()


def own_rows(path: str) -> EventBatch:
    """Of one piece, without what it repeats of those before."""
    with RecordingReader(path) as reader:
        piece = reader.meta.piece
        assert piece is not None
        whole = concat(reader.batches())
        return whole.slice(piece.opening, len(whole))

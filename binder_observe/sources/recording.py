"""The source that replays a recording."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass

from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch, Kind
from binder_observe.recording import RecordingReader
from binder_observe.recording.ahead import ahead
from binder_observe.recording.pieces import pieces_of
from binder_observe.sources import Meta
from binder_observe.sources.pieces import Joint

Path = str | os.PathLike[str]


class RecordingSource:
    """Yields a recording's batches, one at a time; the pieces of a rotated one, in any order, as if it were one file.

    A path is that of a file, of a folder (the `*.arrows` in it), the name from which the pieces have theirs, or a
    pattern as shells have them. `meta` is that of the first piece.

    After `batches()` has ended, `notes` are sentences on what is missing: batches that could not be read, pieces, or
    the DETACH row, without which the observation ended abruptly. Empty: nothing is, or `stop()` came first.

    Raises ObserveError as `RecordingReader` does, and for files that are not the pieces of one recording.
    """

    def __init__(self, *paths: Path) -> None:
        files = [file for path in paths for file in expand(path)]
        self._reader = RecordingReader(files[0])
        try:
            self._files = _in_order([_look_at(self._reader), *map(_looked_at, files[1:])])
        except BaseException:
            self._reader.close()
            raise
        self._stopped = False
        self.meta: Meta = self._files[0].meta
        self.notes: tuple[str, ...] = ()

    def batches(self) -> Iterator[EventBatch]:
        self.notes = ()
        joint, torn = Joint(), False
        notes: list[str] = []
        for file in self._files:
            self._turn_to(file)
            detached = False
            batches = ahead(self._reader.batches())
            if file.meta.piece is not None:
                batches = joint.join(file.meta.piece, batches, torn=torn, last=file is self._files[-1])
            for batch in batches:
                if self._stopped:
                    return
                detached = detached or bool((batch.kind == int(Kind.DETACH)).any())
                yield batch
            if self._stopped:
                return
            torn = self._reader.truncated
            if self._reader.note:
                notes.append(self._reader.note)
        if not torn and not detached:
            notes.append(f"{self._reader.path} has no DETACH event: the observation ended abruptly")
        self.notes = (*notes, *joint.notes)

    @property
    def note(self) -> str | None:
        """`notes` in one sentence; None: there are none."""
        return "; ".join(self.notes) or None

    @property
    def fraction(self) -> float:
        """How much of the files was read, 0 to 1."""
        now = next(n for n, file in enumerate(self._files) if file.path == self._reader.path)
        done = sum(file.bytes for file in self._files[:now]) + self._reader.fraction * self._files[now].bytes
        return done / sum(file.bytes for file in self._files)

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._reader.close()

    def _turn_to(self, file: _File) -> None:
        """One file is open at a time, for there may be more of them than a process may open."""
        if self._reader.path != file.path:
            self._reader.close()
            self._reader = RecordingReader(file.path)
            if self._reader.meta != file.meta:
                raise ObserveError(f"{file.path} was replaced while it was read; read the recording again")


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    meta: Meta
    bytes: int


def _look_at(reader: RecordingReader) -> _File:
    return _File(reader.path, reader.meta, os.path.getsize(reader.path))


def _looked_at(path: str) -> _File:
    with RecordingReader(path) as reader:
        return _look_at(reader)


def _in_order(files: list[_File]) -> list[_File]:
    """Raises ObserveError when several are not pieces of one recording, each there once."""
    if len(files) == 1:
        return files
    found: dict[int, _File] = {}
    for file in files:
        piece = file.meta.piece
        if piece is None:
            raise ObserveError(f"{file.path} is a recording of its own: only the pieces of one are read together")
        first = next(iter(found.values()), file)
        assert first.meta.piece is not None
        if piece.run != first.meta.piece.run:
            raise ObserveError(f"{first.path} and {file.path} are pieces of different recordings")
        if piece.index in found:
            raise ObserveError(f"{found[piece.index].path} and {file.path} are the same piece, number {piece.index}")
        found[piece.index] = file
    return [found[index] for index in sorted(found)]


def expand(path: Path) -> list[str]:
    """The files that `path` means, as `RecordingSource` says; what means none is given back as it is."""
    name = os.fspath(path)
    if os.path.isdir(name):
        return sorted(glob.glob(os.path.join(glob.escape(name), "*.arrows"))) or [name]
    if os.path.lexists(name):
        return [name]
    return pieces_of(name) or sorted(glob.glob(name)) or [name]

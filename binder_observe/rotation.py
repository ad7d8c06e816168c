"""A recording in pieces, each readable alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, NoReturn, Self

from binder_observe.errors import ObserveError
from binder_observe.events import GOES_ON, NO_ALLOC, EventBatch, Kind, from_rows
from binder_observe.files import check_absent, refuse_stdout
from binder_observe.observation import Observation
from binder_observe.opening import opening
from binder_observe.recording import RecordingReader, RecordingWriter
from binder_observe.recording.pieces import piece_path, pieces_of
from binder_observe.sources import Meta, Piece


@dataclass(frozen=True, slots=True)
class Rotation:
    """A piece ends when its file has `size_bytes`, or after `time_s`; the newest `keep` stay (None: all)."""

    size_bytes: int | None = None
    time_s: float | None = None
    keep: int | None = None


def check_no_pieces(path: str, force: bool) -> None:
    """Raises ObserveError where pieces of `path` would be refused later, as `check_absent` does for one file.

    `force` is for pieces: another file that is only called like one (`trace.2024.arrows`) is refused all the same.
    """
    for file in pieces_of(path) or [piece_path(path, 1)]:
        check_absent(file, force)
        if os.path.lexists(file):
            with RecordingReader(file) as reader:
                if reader.meta.piece is None:
                    raise ObserveError(f"{file} is called like a piece and is none; give another name")


class PieceWriter:
    """Writes a run as files that are called after `path`; each is a recording, written as by `RecordingWriter`.

    Every event is in one of them. With `force` the pieces of an earlier run are removed.

    Raises ObserveError when pieces are there and `force` is false, and, from any method, when a file cannot be made,
    written or removed; all that was flushed before then stays readable.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        meta: Meta,
        rotation: Rotation,
        *,
        force: bool = False,
        flush_interval_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base = os.fspath(path)
        refuse_stdout(self._base)
        check_no_pieces(self._base, force)
        self._rotation: Final = rotation
        self._force = force
        self._interval_s = flush_interval_s
        self._clock = clock
        earlier = pieces_of(self._base)
        self._meta = replace(meta, piece=Piece(secrets.token_hex(8), 1))
        self._writer = self._create(self._meta)
        self._begin()
        self._paths = [self._writer.path]
        for file in earlier:
            if file != self._writer.path:
                _remove(file)

    @property
    def path(self) -> str:
        """The newest piece."""
        return self._writer.path

    def write(self, batch: EventBatch) -> None:
        """As that of `RecordingWriter`, into the newest piece."""
        try:
            self._writer.write(batch)
        except ObserveError as error:
            if self._piece.index == 1:
                raise
            raise ObserveError(f"{error}; the pieces before it are whole") from error

    def turn(self, observed: Observation) -> None:
        """Goes on in a new piece if it is time to; `observed` has taken in all that was written, and no more."""
        tracker = observed.tracker
        happened = tracker.events + tracker.lost_events
        if not self._is_due() or happened == self._piece.before:  # a piece without events would tell nothing
            return
        old = self._writer
        old.flush()
        first = opening(observed)
        piece = Piece(self._piece.run, self._piece.index + 1, len(first), happened)
        meta = replace(self._meta, piece=piece)
        # The new piece is whole before the old one ends: whenever it fails, or is killed, all is in one of the two.
        new = self._open_next(meta, first)
        self._meta, self._writer = meta, new
        self._begin()
        self._paths.append(new.path)
        with old:
            old.write(from_rows([(tracker.end_ns, Kind.DETACH, NO_ALLOC, GOES_ON, 0, 0, 0, None)]))
        while self._rotation.keep is not None and len(self._paths) > self._rotation.keep:
            _remove(self._paths.pop(0))

    def close(self) -> None:
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _piece(self) -> Piece:
        assert self._meta.piece is not None
        return self._meta.piece

    def _create(self, meta: Meta) -> RecordingWriter:
        assert meta.piece is not None
        path = piece_path(self._base, meta.piece.index)
        return RecordingWriter(path, meta, force=self._force, flush_interval_s=self._interval_s, clock=self._clock)

    def _begin(self) -> None:
        self._began = self._clock()
        # whatever the size, no file may be an opening and little else
        self._limit = max(self._rotation.size_bytes or 0, 2 * self._writer.saved_bytes)

    def _is_due(self) -> bool:
        if self._rotation.size_bytes is not None:
            return self._writer.saved_bytes >= self._limit
        return self._rotation.time_s is not None and self._clock() - self._began >= self._rotation.time_s

    def _open_next(self, meta: Meta, first: EventBatch) -> RecordingWriter:
        try:
            new = self._create(meta)
        except ObserveError as error:
            self._fail(piece_path(self._base, self._piece.index + 1), error)
        try:
            new.write(first)
            new.flush()
        except ObserveError as error:
            new.close()
            with contextlib.suppress(OSError):
                os.unlink(new.path)  # it has no event yet
            self._fail(new.path, error)
        return new

    def _fail(self, path: str, error: ObserveError) -> NoReturn:
        cause = error.__cause__
        why = (cause.strerror if isinstance(cause, OSError) else None) or str(error)
        raise ObserveError(
            f"cannot go on in {path}: {why}; everything recorded until then is saved and readable in the pieces "
            "before it"
        ) from error


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ObserveError(f"cannot remove {path}, an older piece: {error.strerror}") from error

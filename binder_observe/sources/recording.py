"""The source that replays a recording."""

from __future__ import annotations

import os
from collections.abc import Iterator

from binder_observe.events import EventBatch, Kind
from binder_observe.recording import RecordingReader
from binder_observe.sources import Meta


class RecordingSource:
    """Yields a recording's batches, one at a time.

    After `batches()` has ended, `note` is a sentence on what is missing at the recording's end: batches that
    could not be read, or the DETACH row, without which the observation ended abruptly. None: nothing is, or
    `stop()` came first.

    Raises ObserveError as `RecordingReader` does.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._reader = RecordingReader(path)
        self._stopped = False
        self.note: str | None = None

    @property
    def meta(self) -> Meta:
        return self._reader.meta

    def batches(self) -> Iterator[EventBatch]:
        self.note = None
        detached = False
        for batch in self._reader.batches():
            if self._stopped:
                return
            detached = detached or bool((batch.kind == Kind.DETACH).any())
            yield batch
        if self._stopped:
            return
        if self._reader.truncated:
            self.note = self._reader.note
        elif not detached:
            self.note = f"{self._reader.path} has no DETACH event: the observation ended abruptly"

    @property
    def notes(self) -> tuple[str, ...]:
        """`note`, as reports take it."""
        return (self.note,) if self.note else ()

    @property
    def fraction(self) -> float:
        """How much of the file was read, 0 to 1."""
        return self._reader.fraction

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._reader.close()

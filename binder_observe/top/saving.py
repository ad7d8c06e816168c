"""A recording that begins in the middle of an observation."""

from __future__ import annotations

from dataclasses import dataclass

from binder_observe.events import NO_ALLOC, EventBatch, Kind, from_rows
from binder_observe.observation import Observation
from binder_observe.opening import opening
from binder_observe.recording import RecordingWriter


@dataclass(frozen=True, slots=True)
class Saving:
    """What is being saved, or was: `since_ns` is None when it holds the whole run. `error`: it failed, and why."""

    path: str
    since_ns: int | None
    events: int
    bytes: int
    done: bool = False
    error: str | None = None


class Saver:
    """Writes what a `Collector` takes in; `observed` gives the state to begin with, None at the very start."""

    def __init__(self, writer: RecordingWriter, observed: Observation | None = None) -> None:
        self._writer = writer
        self._since_ns = observed.tracker.end_ns if observed else None
        self._events = 0
        if observed:
            writer.write(opening(observed))

    def write(self, batch: EventBatch) -> None:
        self._events += batch.kernel_events
        self._writer.write(batch)

    def close(self, end_ns: int | None = None) -> None:
        """With `end_ns` the recording ends there, before the observation does."""
        if end_ns is not None:
            self._writer.write(from_rows([(end_ns, Kind.DETACH, NO_ALLOC, 0, 0, 0, 0, None)]))
        self._writer.close()

    def now(self, *, done: bool = False, error: str | None = None) -> Saving:
        return Saving(self._writer.path, self._since_ns, self._events, self._writer.saved_bytes, done, error)

"""A recording that begins in the middle of an observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe.events import DTYPE, NO_ALLOC, EventBatch, Kind, from_records
from binder_observe.recording import RecordingWriter
from binder_observe.rows import State
from binder_observe.tracker import AllocState, PageTracker

_SNAPSHOT: Final = {State.FREE: Kind.SNAPSHOT_FREE, State.ACTIVE: Kind.SNAPSHOT_ACTIVE, State.LRU: Kind.SNAPSHOT_LRU}


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
    """Writes what a `Collector` takes in; `tracker` gives the state to begin with, None at the very start."""

    def __init__(self, writer: RecordingWriter, tracker: PageTracker | None = None) -> None:
        self._writer = writer
        self._since_ns = tracker.end_ns if tracker else None
        self._events = 0
        if tracker:
            writer.write(opening(tracker))

    def write(self, batch: EventBatch) -> None:
        self._events += batch.kernel_events
        self._writer.write(batch)

    def close(self, end_ns: int | None = None) -> None:
        """With `end_ns` the recording ends there, before the observation does."""
        if end_ns is not None:
            self._writer.write(from_records(np.array([(end_ns, Kind.DETACH, NO_ALLOC, 0, 0, 0, 0)], dtype=DTYPE)))
        self._writer.close()

    def now(self, *, done: bool = False, error: str | None = None) -> Saving:
        return Saving(self._writer.path, self._since_ns, self._events, self._writer.saved_bytes, done, error)


def opening(tracker: PageTracker) -> EventBatch:
    """The events that a recording from now on begins with: ATTACH, names, and each live mapping with the state of its
    pages, as an observer that attached at this moment would have found them."""
    now = tracker.end_ns
    parts = [_rows(now, Kind.ATTACH)]
    names: dict[int, str] = {}
    used = 1

    def add(rows: NDArray[np.void], name: str | None = None) -> None:
        nonlocal used
        if name is not None:
            names[used] = name
        parts.append(rows)
        used += len(rows)

    for pid, comm in tracker.comms.items():
        add(_rows(now, Kind.PROCESS, tgid=pid), comm)
    for s in tracker.allocs():
        if not s.released:
            add(_rows(now, Kind.ALLOC, s.alloc, s.mapping_pages, s.pid), s.context)
            add(_rows(now, Kind.SNAPSHOT_HIGH, s.alloc, s.high_watermark, s.pid))
            add(_snapshots(now, s, tracker.page_states(s.alloc)))
    return from_records(np.concatenate(parts), names)


def _snapshots(now: int, s: AllocState, states: NDArray[np.uint8]) -> NDArray[np.void]:
    index = np.flatnonzero(states != State.UNKNOWN)  # of the others nothing can be said
    kind = np.zeros(len(State), dtype=np.uint8)
    for state, snapshot in _SNAPSHOT.items():
        kind[state] = snapshot
    rows = np.zeros(len(index), dtype=DTYPE)
    rows["ts_ns"], rows["alloc"], rows["tgid"] = now, s.alloc, s.pid
    rows["page"], rows["kind"] = index, kind[states[index]]
    return rows


def _rows(ts_ns: int, kind: Kind, alloc: int = NO_ALLOC, page: int = 0, tgid: int = 0) -> NDArray[np.void]:
    return np.array([(ts_ns, kind, alloc, page, 0, tgid, 0)], dtype=DTYPE)

"""What a recording begins with that begins in the middle of an observation."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe.events import DTYPE, NO_ALLOC, EventBatch, Kind, concat, from_records, from_rows
from binder_observe.observation import Observation
from binder_observe.rows import State
from binder_observe.tracker import AllocState

_SNAPSHOT: Final = {State.FREE: Kind.SNAPSHOT_FREE, State.ACTIVE: Kind.SNAPSHOT_ACTIVE, State.LRU: Kind.SNAPSHOT_LRU}


def opening(observed: Observation) -> EventBatch:
    """The events that a recording from now on begins with: ATTACH, names, the latest audit, and each live mapping with
    the state of its pages, as an observer that attached at this moment would have found them. None of them is the
    kernel's own.

    What is under way has no state: attempts to install a page that have not ended, and releases.
    """
    tracker = observed.tracker
    now = tracker.end_ns
    names = ((now, Kind.PROCESS, NO_ALLOC, 0, 0, pid, 0, comm) for pid, comm in tracker.comms.items())
    parts = [from_rows([(now, Kind.ATTACH, NO_ALLOC, 0, 0, 0, 0, None), *names])]
    if observed.audit.checked:
        parts.append(observed.audit.event(now))
    for s in tracker.allocs():
        if not s.released:
            described = (now, Kind.ALLOC, s.alloc, s.mapping_pages, 0, s.pid, 0, s.context)
            high = (now, Kind.SNAPSHOT_HIGH, s.alloc, s.high_watermark, 0, s.pid, 0, None)
            parts.append(from_rows([described, high]))
            parts.append(from_records(_snapshots(now, s, tracker.page_states(s.alloc))))
    return concat(parts)


def _snapshots(now: int, s: AllocState, states: NDArray[np.uint8]) -> NDArray[np.void]:
    index = np.flatnonzero(states != State.UNKNOWN)  # of the others nothing can be said
    kind = np.zeros(len(State), dtype=np.uint8)
    for state, snapshot in _SNAPSHOT.items():
        kind[state] = snapshot
    rows = np.zeros(len(index), dtype=DTYPE)
    rows["ts_ns"], rows["alloc"], rows["tgid"] = now, s.alloc, s.pid
    rows["page"], rows["kind"] = index, kind[states[index]]
    return rows

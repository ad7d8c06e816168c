"""What a recording begins with that begins in the middle of an observation."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe.events import DTYPE, NO_ALLOC, EventBatch, Kind, concat, from_records, from_rows
from binder_observe.observation import Observation
from binder_observe.rows import State
from binder_observe.tracker import AllocState

_SNAPSHOT: Final = np.zeros(len(State), dtype=np.uint8)
_SNAPSHOT[[State.FREE, State.ACTIVE, State.LRU]] = Kind.SNAPSHOT_FREE, Kind.SNAPSHOT_ACTIVE, Kind.SNAPSHOT_LRU


def opening(observed: Observation) -> EventBatch:
    """The events that a recording from now on begins with: ATTACH, names, the latest audit, and each live mapping with
    the state of its pages, as an observer that attached at this moment would have found them. None of them is the
    kernel's own.

    What is under way has no state: attempts to install a page that have not ended, and releases.
    """
    tracker = observed.tracker
    now = tracker.end_ns
    live = list(tracker.allocs())
    # of a pid that was used again while something of the process that had it before is still there
    owners = (
        (now, Kind.PROCESS, s.alloc, 0, 0, s.pid, 0, s.comm)
        for s in live
        if s.comm is not None and s.comm != tracker.comms.get(s.pid)
    )
    comms = ((now, Kind.PROCESS, NO_ALLOC, 0, 0, pid, 0, comm) for pid, comm in tracker.comms.items())
    first = [from_rows([(now, Kind.ATTACH, NO_ALLOC, 0, 0, 0, 0, None), *owners, *comms])]
    if observed.audit.checked:
        first.append(observed.audit.event(now))
    mappings: list[NDArray[np.void]] = []
    contexts: dict[int, str] = {}
    used = 0
    for s in live:
        if s.context is not None:
            contexts[used] = s.context
        mappings.append(_mapping(now, s, tracker.page_states(s.alloc)))
        used += len(mappings[-1])
    return concat([*first, from_records(np.concatenate([np.zeros(0, dtype=DTYPE), *mappings]), contexts)])


def _mapping(now: int, s: AllocState, states: NDArray[np.uint8]) -> NDArray[np.void]:
    known = np.flatnonzero(states != State.UNKNOWN)  # of the others nothing can be said
    rows = np.zeros(2 + len(known), dtype=DTYPE)
    rows["ts_ns"], rows["alloc"], rows["tgid"] = now, s.alloc, s.pid
    rows["kind"][:2] = Kind.ALLOC, Kind.SNAPSHOT_HIGH
    rows["page"][:2] = s.mapping_pages, s.high_watermark
    rows["kind"][2:], rows["page"][2:] = _SNAPSHOT[states[known]], known
    return rows

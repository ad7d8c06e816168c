"""A whole observation in memory: every life, span and install attempt, for frames, plots and the HTML report.

Memory grows with the events, unlike that of `Observation`, which it is filled beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from binder_observe.analysis.summary import Report, summarize
from binder_observe.events import EventBatch, Kind
from binder_observe.observation import Observation
from binder_observe.rows import INSTALL, LIFE, SPAN
from binder_observe.sources import Meta
from binder_observe.tracker import AllocState


@dataclass(frozen=True, slots=True)
class History:
    """Rows in the order in which they ended; what goes on at the end comes last, as censored rows.

    `lives`, `spans` and `installs` have dtypes LIFE, SPAN and INSTALL. The spans of a page cover its alloc's
    observation without a hole. `allocs` and `comms` are all that there were, while the report folds mappings that are
    gone.
    """

    meta: Meta
    report: Report
    allocs: tuple[AllocState, ...]
    comms: dict[int, str]
    lives: NDArray[np.void]
    spans: NDArray[np.void]
    installs: NDArray[np.void]
    begin_ns: int
    end_ns: int


def collect(meta: Meta, batches: Iterable[EventBatch], notes: Callable[[], tuple[str, ...]] = tuple) -> History:
    """Everything from the batches of one source; `notes()` is asked after the last one.

    Raises ObserveError when the stream is damaged.
    """
    observation = Observation(meta)
    released: list[AllocState] = []
    comms: dict[int, str] = {}
    lives, spans = [np.zeros(0, dtype=LIFE)], [np.zeros(0, dtype=SPAN)]
    installs = [np.zeros(0, dtype=INSTALL)]
    first_ns: int | None = None
    for batch in batches:
        if first_ns is None and len(batch):
            first_ns = int(batch.ts_ns[0])
        for row in batch.names:
            if batch.kind[row] == Kind.PROCESS:
                comms[int(batch.tgid[row])] = batch.names[row]
        for done in observation.feed(batch):
            released += done.allocs
            lives.append(done.lives)
            spans.append(done.spans)
            installs.append(done.installs)
    tracker = observation.tracker
    begin_ns = tracker.attach_ns if tracker.attach_ns is not None else first_ns
    return History(
        meta=meta,
        report=summarize(observation, notes()),
        allocs=tuple(sorted([*released, *tracker.allocs()], key=lambda s: s.alloc)),
        comms=comms,
        lives=np.concatenate([*lives, tracker.alive()]),
        spans=np.concatenate([*spans, tracker.open_spans()]),
        installs=np.concatenate([*installs, tracker.open_installs()]),
        begin_ns=tracker.end_ns if begin_ns is None else begin_ns,
        end_ns=tracker.end_ns,
    )

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
from binder_observe.rows import INSTALL, LIFE, SPAN, as_bytes
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


class _Rows:
    """An array that grows in place: pieces joined in the end would be there twice."""

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self._dtype = dtype
        self._bytes = np.zeros(0, dtype=np.uint8)
        self._used = 0

    def add(self, more: NDArray[np.void]) -> None:
        used = self._used + more.nbytes
        if used > len(self._bytes):
            self._bytes.resize(used + used // 4, refcheck=False)  # nobody else has seen it yet
        self._bytes[self._used : used] = as_bytes(more)
        self._used = used

    def end(self, last: NDArray[np.void]) -> NDArray[np.void]:
        """All of them; nothing can be added any more."""
        self.add(last)
        self._bytes.resize(self._used, refcheck=False)
        return self._bytes.view(self._dtype)


def collect(meta: Meta, batches: Iterable[EventBatch], notes: Callable[[], tuple[str, ...]] = tuple) -> History:
    """Everything from the batches of one source; `notes()` is asked after the last one.

    Raises ObserveError when the stream is damaged.
    """
    observation = Observation(meta)
    released: list[AllocState] = []
    comms: dict[int, str] = {}
    lives, spans, installs = _Rows(LIFE), _Rows(SPAN), _Rows(INSTALL)
    first_ns: int | None = None
    for batch in batches:
        if first_ns is None and len(batch):
            first_ns = int(batch.ts_ns[0])
        for row in batch.names:
            if batch.kind[row] == Kind.PROCESS:
                comms[int(batch.tgid[row])] = batch.names[row]
        for done in observation.feed(batch):
            released += done.allocs
            lives.add(done.lives)
            spans.add(done.spans)
            installs.add(done.installs)
    tracker = observation.tracker
    begin_ns = tracker.attach_ns if tracker.attach_ns is not None else first_ns
    return History(
        meta=meta,
        report=summarize(observation, notes()),
        allocs=tuple(sorted([*released, *tracker.allocs()], key=lambda s: s.alloc)),
        comms=comms,
        lives=lives.end(tracker.alive()),
        spans=spans.end(tracker.open_spans()),
        installs=installs.end(tracker.open_installs()),
        begin_ns=tracker.end_ns if begin_ns is None else begin_ns,
        end_ns=tracker.end_ns,
    )

"""One pass over a source: everything that a report is made of, in memory that does not grow with events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from binder_observe.analysis.released import MOST_RELEASED, Released
from binder_observe.audit import UNCHECKED, Audit
from binder_observe.events import EventBatch, Kind
from binder_observe.lifetimes.counts import Counts
from binder_observe.lifetimes.reclaims import Reclaims, ReclaimTotal
from binder_observe.lifetimes.totals import Totals
from binder_observe.sources import Meta
from binder_observe.tracker import AllocState, Finished, PageTracker

_MOST_SAMPLES: Final = 256
_FIRST_STEP_NS: Final = 1_000_000
# Released mappings are taken out of the totals several at a time, for that looks through all of them; until then their
# durations take room.
_RELEASED_AT_ONCE: Final = 32


_COLUMN: Final = types.Array(types.int64, 1, "C")


@numba.njit(
    types.UniTuple(types.int64, 2)(  # type: ignore[no-untyped-call]
        types.Array(types.int64, 1, "C", readonly=True), *[types.int64] * 4, _COLUMN, _COLUMN
    ),
    cache=True,
)
def _cross(ts_ns, row, origin_ns, clock_ns, step_ns, rows, points):  # type: ignore[no-untyped-def]  # compiled
    """The rows from `row` on that are the first behind a point of the grid, and the number of that point, into `rows`
    and `points`. Returns how many there are, and the row behind those that were looked at: where there is no more room,
    the last one found."""
    n = 0
    following = (clock_ns - origin_ns) // step_ns + 1 if clock_ns else 1
    while row < len(ts_ns) and n < len(rows):
        if ts_ns[row] >= origin_ns + following * step_ns:
            rows[n], points[n] = row, following
            n += 1
            if n == len(rows):
                break
            following = (ts_ns[row] - origin_ns) // step_ns + 1
        row += 1
    return n, row


@dataclass(frozen=True, slots=True)
class Sample:
    """Pages of all live mappings together, from one time to the next sample's."""

    ts_ns: int
    mapped: int
    installed: int


class Observation:
    """Feed it every batch of a source, in order; look at it at any time.

    Of mappings that are released the last `most_released` are kept, those before are folded (`analysis.released`), so
    that memory does not grow with mappings that come and go.
    """

    def __init__(self, meta: Meta, *, most_released: int = MOST_RELEASED) -> None:
        self.meta = meta
        self.tracker = PageTracker()
        self.audit = UNCHECKED  # the latest that the stream told of
        self._totals = Totals()
        self._reclaims = Reclaims()
        self._gone: list[AllocState] = []  # what was counted of them is still in the totals
        self._released = Released(most_released, skips=meta.observes_skips)
        # A grid in time, so that the course is the same however the events are cut into batches.
        self._origin_ns: int | None = None
        self._clock_ns = 0
        self._step_ns = _FIRST_STEP_NS
        self._samples: dict[int, tuple[int, int]] = {}  # grid point -> pages mapped, installed just before it

    def feed(self, batch: EventBatch) -> list[Finished]:
        """Returns what came to its end, in order. Raises ObserveError when the stream is damaged."""
        done: list[Finished] = []
        if not len(batch):
            return done
        if self._origin_ns is None:
            self._origin_ns = int(batch.ts_ns[0])
        for row, name in batch.names.items():
            if batch.kind[row] == Kind.AUDIT:
                self.audit = Audit.from_json(name)
        start = 0
        while start < len(batch):
            room = np.zeros((2, _MOST_SAMPLES + 1 - len(self._samples)), dtype=np.int64)
            n, end = _cross(batch.ts_ns, start, self._origin_ns, self._clock_ns, self._step_ns, *room)
            rows, points = room[:, :n]
            found = np.zeros((n, 2), dtype=np.int64)
            done.append(self.tracker.update(batch.slice(start, end), rows - start, found))
            self._totals.add(done[-1])
            self._samples.update(zip(points.tolist(), map(tuple, found.tolist()), strict=True))
            self._thin_out()
            if n:
                self._clock_ns = int(batch.ts_ns[rows[-1]])
            start = end
        # clocks of two CPUs can differ by a little: the last event need not be the latest
        self._clock_ns = self.tracker.last_ns or 0
        self._reclaims.add(done, self.tracker)
        self._gone += (state for d in done for state in d.allocs)
        if len(self._gone) > max(_RELEASED_AT_ONCE, self.tracker.live_allocs // 4):
            self._settle()
        return done

    def _settle(self) -> None:
        self._released.add(self._gone, self._totals.take(s.alloc for s in self._gone), self.tracker.comms)
        self._gone = []

    def _thin_out(self) -> None:
        """Doubles the step when there are too many samples. A point of the old grid moves to the next of the new one,
        unless that has a sample of its own: without one, nothing happened in between."""
        if len(self._samples) > _MOST_SAMPLES:
            self._step_ns *= 2
            self._samples = {(point + 1) // 2: pages for point, pages in self._samples.items()}

    def course(self) -> list[Sample]:
        """Pages mapped and installed over time: some hundred samples, the last one at the end."""
        origin = self._origin_ns or 0
        samples = [Sample(origin + point * self._step_ns, *pages) for point, pages in self._samples.items()]
        now = Sample(self.tracker.end_ns, *self.tracker.mapped_and_installed())
        return [*(s for s in samples if s.ts_ns < now.ts_ns), now]

    def released(self) -> Released:
        """Mappings that are gone, all up to now."""
        if self._gone:
            self._settle()
        return self._released

    def counts(self, spans: NDArray[np.void]) -> Counts:
        """Of live mappings: of all that ended so far, and of what goes on, `spans` among them, as censored."""
        self.released()
        totals = self._totals.copy()
        totals.add(Finished(self.tracker.alive(), spans, self.tracker.open_installs()))
        return totals.counts()

    def reclaims(self) -> list[ReclaimTotal]:
        """Who reclaimed, most first."""
        return self._reclaims.totals(self.tracker)

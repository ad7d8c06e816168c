"""One pass over a source: everything that a report is made of, in memory that does not grow with events."""

from __future__ import annotations

from binder_observe.events import EventBatch
from binder_observe.lifetimes import LifetimeSummary
from binder_observe.sources import Meta
from binder_observe.tracker import PageTracker


class Observation:
    """Feed it every batch of a source, in order; look at it at any time."""

    def __init__(self, meta: Meta) -> None:
        self.meta = meta
        self.tracker = PageTracker()
        self._finished = LifetimeSummary()

    def feed(self, batch: EventBatch) -> None:
        """Raises ObserveError when the stream is damaged."""
        self._finished.add(self.tracker.update(batch))

    def lifetimes(self) -> LifetimeSummary:
        """Lives that ended so far, and those that go on as censored ones."""
        summary = self._finished.copy()
        summary.add(self.tracker.alive())
        return summary

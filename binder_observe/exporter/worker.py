"""Reads a source in a thread of its own, and keeps the newest snapshot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from binder_observe.analysis.names import printable
from binder_observe.analysis.report import Report
from binder_observe.analysis.summary import summarize
from binder_observe.events import EventBatch
from binder_observe.exporter.ledger import Ledger, Series
from binder_observe.observation import Observation
from binder_observe.sources import Source

# As in top: making a snapshot may cost so many times less than the time to the next one.
SHARE: Final = 4
# A live source gives control back ten times a second; one that has not done so for this long is stuck.
STALLED_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one time: the report, and the series made of it."""

    report: Report
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Health:
    state: Literal["starting", "reading", "stalled", "ended", "failed"]
    reason: str  # one line

    @property
    def ok(self) -> bool:
        return self.state == "reading"


class Auditor(Protocol):
    """Holds the observation against the kernel's counts when `check()` is called, which gives an AUDIT row."""

    def check(self) -> EventBatch: ...


# Of the observation, and what lets it take in the next batch (None: there is no more).
MakeAuditor = Callable[[Observation, Callable[[], EventBatch | None]], Auditor]


class Worker:
    """Feeds every batch of `source` to an observation.

    `snapshot` and `last_event_ns` are immutable and replaced as a whole, so that other threads may look at any time.
    `ended` is set when the source is at its end or has failed; `error` is why it failed. The source is not closed then.

    Args:
        clock: the time observed up to now, in ns of the events' clock; called in any thread.
        most: mappings with series of their own.
        duration_s: stop then.
        auditor, check_s: makes what compares with the kernel's counts, every so many seconds.
    """

    def __init__(
        self,
        source: Source,
        clock: Callable[[], int],
        *,
        most: int,
        interval_s: float = 1.0,
        duration_s: float | None = None,
        auditor: MakeAuditor | None = None,
        check_s: float = 0.0,
    ) -> None:
        self.source: Final = source
        self.clock: Final = clock
        self.snapshot: Snapshot | None = None
        self.last_event_ns: int | None = None
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._interval_s = interval_s
        self._duration_s = duration_s
        self._observation = Observation(source.meta)
        self._ledger = Ledger(most)
        self._batches = source.batches()
        self._read_at: float | None = None
        self._known_ns = 0  # everything up to then has been read
        self._auditor = auditor(self._observation, self._take) if auditor else None
        self._check_s = check_s
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Waits for the end."""
        if self._thread.ident is not None:
            self._thread.join()

    def health(self) -> Health:
        """Whether events are being read, and if not, why."""
        if self.ended.is_set():
            if self.error is not None:
                return Health("failed", f"the source failed: {printable(str(self.error) or repr(self.error))}")
            return Health("ended", "the source is at its end: no more events will come")
        if self._read_at is None:
            return Health("starting", "no event has been read yet")
        silent_s = time.monotonic() - self._read_at
        if silent_s > STALLED_S:
            return Health("stalled", f"the source has given no sign of life for {silent_s:.0f} s")
        return Health("reading", f"reading events ({self.source.meta.source})")

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # it is told where the observation was asked for
            self.error = error
        finally:
            self.ended.set()

    def _take(self) -> EventBatch | None:
        asked_ns = self.clock()
        batch = next(self._batches, None)
        if batch is not None:
            self._observation.feed(batch)
            if batch.kernel_events:
                self.last_event_ns = int(batch.ts_ns.max())
            self._known_ns = asked_ns
            self._read_at = time.monotonic()
        return batch

    def _read(self) -> None:
        begin = due = checked = time.monotonic()
        while self._take() is not None:
            now = time.monotonic()
            if self._duration_s is not None and now - begin >= self._duration_s:
                self.source.stop()
            if self._auditor and now - checked >= self._check_s:
                self._observation.feed(self._auditor.check())
                checked = time.monotonic()
            if now >= due:
                self._publish()
                done = time.monotonic()
                due = max(now + self._interval_s, done + SHARE * (done - now))
        self._publish()

    def _publish(self) -> None:
        tracker = self._observation.tracker
        report = summarize(self._observation)
        now_ns = tracker.end_ns if tracker.detach_ns is not None else max(self._known_ns, tracker.end_ns)
        self.snapshot = Snapshot(report, self._ledger.take(report, now_ns))

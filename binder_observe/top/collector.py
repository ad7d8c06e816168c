"""Reads a source in a thread of its own, and hands over frames."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from binder_observe.analysis.summary import summarize
from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch
from binder_observe.observation import Observation
from binder_observe.recording import RecordingWriter
from binder_observe.sources import Source
from binder_observe.top.frame import Frame, advance
from binder_observe.top.saving import Saver, Saving

# A frame may cost so many times less than the time to the next one, so that events come first.
SHARE: Final = 4
# As in `observe`: well within the second that a crash may cost at most.
FLUSH_S: Final = 0.75


class Collector:
    """Feeds every batch of `source` to an observation, and to a recording.

    `frame` and `saving` are immutable and replaced as a whole, so that other threads may look at any time; whoever
    looks too seldom misses frames, never events. `ended` is set when the source is at its end or has failed; `error` is
    why it failed, None while it has not. The source and the recording are closed then.

    Args:
        clock: the time observed up to now, in ns of the events' clock; called in the thread.
        notes: sentences for the report on the source.
        whole: a recording that takes everything from the start; when it cannot be written, the observation ends.
        duration_s: stop then.
    """

    def __init__(
        self,
        source: Source,
        clock: Callable[[], int],
        *,
        interval_s: float = 1.0,
        notes: Callable[[], tuple[str, ...]] = tuple,
        whole: RecordingWriter | None = None,
        duration_s: float | None = None,
    ) -> None:
        self.source: Final = source
        self.interval_s: Final = interval_s
        self.frame: Frame | None = None
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._clock = clock
        self._notes = notes
        self._duration_s = duration_s
        self._observation = Observation(source.meta)
        self._whole = Saver(whole) if whole else None
        self._part: Saver | None = None
        self._fed = 0  # rows
        self._seen = (-1, -1)  # when the last frame was made
        self.saving: Saving | None = self._whole.now() if self._whole else None
        self._orders: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Asks for the end; safe in a signal handler."""
        self.source.stop()

    def join(self) -> None:
        """Waits for the end."""
        if self._thread.ident is not None:
            self._thread.join()

    def save(self, path: str) -> None:
        """From now on to a new file; `saving` tells what becomes of it."""
        self._orders.put(path)

    def stop_saving(self) -> None:
        self._orders.put(None)

    def _run(self) -> None:
        try:
            self._collect()
        except BaseException as error:  # it is told where the observation was asked for
            self.error = error
        finally:
            try:
                self._close()
            except BaseException as error:
                self.error = self.error or error
            self.ended.set()

    def _collect(self) -> None:
        begin = time.monotonic()
        due = begin
        for batch in self.source.batches():
            self._obey()
            self._write(batch)
            self._observation.feed(batch)
            self._fed += len(batch)
            now = time.monotonic()
            if self._duration_s is not None and now - begin >= self._duration_s:
                self.source.stop()
            if now >= due:
                self._publish()
                done = time.monotonic()
                due = max(now + self.interval_s, done + SHARE * (done - now))
        self._publish(last=True)

    def _write(self, batch: EventBatch) -> None:
        if self._whole:
            self._whole.write(batch)
        if self._part:
            try:
                self._part.write(batch)
            except ObserveError as error:
                self._fail(self._part, error)

    def _obey(self) -> None:
        while not self._orders.empty():
            path = self._orders.get()
            if self._part:
                self._finish(self._observation.tracker.end_ns)
            if path is not None and not self._whole:
                self._begin(path)

    def _begin(self, path: str) -> None:
        try:
            writer = RecordingWriter(path, self.source.meta, flush_interval_s=FLUSH_S)
        except ObserveError as error:
            self.saving = Saving(path, self._observation.tracker.end_ns, 0, 0, True, str(error))
            return
        try:
            self._part = Saver(writer, self._observation)
            self.saving = self._part.now()
        except ObserveError as error:
            writer.close()
            self.saving = Saving(path, self._observation.tracker.end_ns, 0, 0, True, str(error))

    def _finish(self, end_ns: int | None = None) -> None:
        """Ends what is saved on the way; at `end_ns` when the observation goes on."""
        part = self._part
        if part:
            try:
                part.close(end_ns)
                self._part = None
                self.saving = part.now(done=True)
            except ObserveError as error:
                self._fail(part, error)

    def _fail(self, part: Saver, error: ObserveError) -> None:
        """The observation does not end because a file did."""
        self._part = None
        self.saving = part.now(done=True, error=str(error))
        part.close()

    def _publish(self, *, last: bool = False) -> None:
        tracker = self._observation.tracker
        ended = tracker.detach_ns is not None
        now_ns = tracker.end_ns if ended else max(self._clock(), tracker.end_ns)
        self._tell_saving()
        seen = (now_ns, self._fed)
        if seen == self._seen and self.frame and not last:
            return  # nothing has happened, and no time has passed: a recording that is paused
        self._seen = seen
        report = summarize(self._observation, self._notes())
        live = (p.state.alloc for p in report.processes if not p.state.released)
        pages = {alloc: tracker.page_states(alloc).tobytes() for alloc in live}
        self.frame = advance(self.frame, report, pages, now_ns)

    def _tell_saving(self) -> None:
        saver = self._whole or self._part
        if saver and saver.now() != self.saving:
            self.saving = saver.now()

    def _close(self) -> None:
        try:
            self._finish()
            if self._whole:
                self._whole.close()
                self.saving = self._whole.now(done=True)
        finally:
            self.source.close()

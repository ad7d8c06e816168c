"""A recording as a source that keeps pace with a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from binder_observe.events import EventBatch
from binder_observe.sources import Meta
from binder_observe.sources.recording import RecordingSource

TICK_S: Final = 0.05
SPEEDS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Playback:
    """Yields the events of `recording` when their time has come, by `clock` (s) and `speed`; forward only.

    `speed` and `paused` may be set from another thread while `batches()` runs; `to_end()` drops the pace. `position_ns`
    is the time that is played (CLOCK_BOOTTIME of the recording).
    """

    def __init__(
        self,
        recording: RecordingSource,
        speed: float = 1.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._recording = recording
        self._clock = clock
        self._sleep = sleep
        self._stopped = False
        self._last = 0.0
        self.speed = speed
        self.paused = False
        self.rushing = False
        self.position_ns = 0

    @property
    def meta(self) -> Meta:
        return self._recording.meta

    @property
    def notes(self) -> tuple[str, ...]:
        """What is missing at the recording's end, once that is reached."""
        return self._recording.notes

    @property
    def fraction(self) -> float:
        """How much of the file was read, 0 to 1; by whole batches."""
        return self._recording.fraction

    def faster(self, steps: int) -> None:
        """To the next of `SPEEDS`, or to the one before."""
        others = [s for s in SPEEDS if s > self.speed] if steps > 0 else [s for s in SPEEDS[::-1] if s < self.speed]
        self.speed = float(others[0]) if others else self.speed

    def to_end(self) -> None:
        self.paused = False
        self.rushing = True

    def batches(self) -> Iterator[EventBatch]:
        latest = 0
        for batch in self._recording.batches():
            if len(batch):
                # order is causal, and clocks of two CPUs can differ by a little
                times = np.maximum(np.maximum.accumulate(batch.ts_ns), latest)
                if not latest:
                    self._last, self.position_ns = self._clock(), int(times[0])
                latest = int(times[-1])
                yield from self._paced(batch, times)
            if self._stopped:
                return

    def _paced(self, batch: EventBatch, times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Iterator[EventBatch]:
        row = 0
        while not self._stopped:
            self._move()
            if self.rushing and not self.paused:
                self.position_ns = max(self.position_ns, int(times[-1]))
            due = int(np.searchsorted(times, self.position_ns, side="right"))
            yield batch.slice(row, due)
            row = due
            if row == len(batch):
                return
            self._sleep(TICK_S)

    def _move(self) -> None:
        now = self._clock()
        if not self.paused:
            self.position_ns += round((now - self._last) * self.speed * 1e9)
        self._last = now

    def stop(self) -> None:
        self._stopped = True
        self._recording.stop()

    def close(self) -> None:
        self._stopped = True
        self._recording.close()

"""Frames and sources for the tests of top."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from binder_observe.analysis.summary import summarize
from binder_observe.events import EventBatch, Kind
from binder_observe.observation import Observation
from binder_observe.sources import Meta
from binder_observe.top.frame import Frame, advance
from tests.build import META, Row, attach, batch, install, mapped, park, reuse, row

S = 1_000_000_000


class Looks:
    """An observation that is looked at from time to time."""

    def __init__(self) -> None:
        self.observation = Observation(META)
        self.frame: Frame | None = None

    def look(self, now_ns: int, *rows: Row | list[Row]) -> Frame:
        if rows:
            self.observation.feed(batch(*rows))
        report = summarize(self.observation)
        live = [p.state.alloc for p in report.processes if not p.state.released]
        pages = {alloc: self.observation.tracker.page_states(alloc).tobytes() for alloc in live}
        self.frame = advance(self.frame, report, pages, now_ns)
        return self.frame


def named(pid: int, name: str) -> Row:
    return row(0, Kind.PROCESS, alloc=0, task=pid, name=name)


def three_processes() -> list[Row | list[Row]]:
    """PIDs 100 (3 active), 101 (1 active, 2 LRU) and 102 (nothing yet)."""
    return [
        attach(), named(100, "alpha"), named(101, "beta"), named(102, "gamma"), named(200, "sender"),
        *(mapped(8, alloc=i + 1, owner=100 + i) for i in range(3)),
        *(install(10 + 2 * i, i, alloc=1) for i in range(3)),
        *(install(20 + 2 * i, i, alloc=2) for i in range(3)), park(30, 0, alloc=2), park(31, 1, alloc=2),
    ]  # fmt: skip


class FakeSource:
    """Yields what it is given, then waits for `stop()` with empty batches as a live source does."""

    waiting = False

    def __init__(self, *batches: EventBatch, meta: Meta = META) -> None:
        self.meta = meta
        self.closed = False
        self._waiting = list(batches)
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def give(self, *rows: Row | list[Row]) -> None:
        self.put(batch(*rows))

    def put(self, part: EventBatch) -> None:
        with self._lock:
            self._waiting.append(part)

    def batches(self) -> Iterator[EventBatch]:
        while True:
            with self._lock:
                ready, self._waiting = self._waiting, []
            yield from ready
            if self._stopped.is_set() and not ready:
                return
            yield batch()
            self._stopped.wait(0.005)

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self.closed = True


def until(true: Callable[[], object], limit_s: float = 60) -> None:
    """Waits until it is so."""
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.005)


def busy(first: int, count: int, alloc: int = 1) -> list[Row]:
    """`count` reuses of page 0, each with its park, from `first` ns on; the page is parked."""
    return [r for i in range(count) for r in (reuse(first + 2 * i, alloc=alloc), park(first + 2 * i + 1, alloc=alloc))]

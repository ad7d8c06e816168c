"""Streams of any size and number of processes, and what the tracker and the report take for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from bench.measure import peak_bytes, timed
from bench.streams import META
from binder_observe.analysis.summary import summarize
from binder_observe.events import EventBatch, Kind, concat, from_rows
from binder_observe.observation import Observation
from binder_observe.recording import BATCH_ROWS
from binder_observe.tracker import PageTracker

PAGES: Final = 64  # of each mapping
BURST: Final = 8  # events of one mapping in a row
STEP_NS: Final = 1_000


def stream(events: int, processes: int) -> Iterator[EventBatch]:
    """Each process has one mapping, whose pages are all installed, then all parked, all reused, and so on."""
    rows: list[tuple[int, int, int, int, int, int, int, str | None]] = [(0, Kind.ATTACH, 0, 0, 0, 0, 0, None)]
    for number in range(1, processes + 1):
        rows.append((0, Kind.PROCESS, 0, 0, 0, 1000 + number, 1000 + number, f"process{number}"))
        rows.append((0, Kind.MMAP, number, PAGES, 0, 1000 + number, 1000 + number, "binder"))
    yield from_rows(rows)
    installs = 2 * PAGES
    for start in range(0, events, BATCH_ROWS):
        n = np.arange(start, min(start + BATCH_ROWS, events), dtype=np.int64)
        process = n // BURST % processes
        step = n // (BURST * processes) * BURST + n % BURST  # of this process
        later = step - installs
        used = np.where(later // PAGES % 2 == 0, Kind.FREE_LRU_START, Kind.ALLOC_LRU_START)
        first = np.where(step % 2 == 0, Kind.ALLOC_PAGE_START, Kind.ALLOC_PAGE_END)
        task = (100_000 + process).astype(np.uint32)
        yield EventBatch(
            ts_ns=n * STEP_NS,
            kind=np.where(later < 0, first, used).astype(np.uint8),
            alloc=(process + 1).astype(np.uint32),
            page=np.where(later < 0, step // 2, later % PAGES).astype(np.uint32),
            cpu=np.zeros(len(n), dtype=np.uint16),
            tgid=task,
            tid=task,
        )
    yield from_rows([(events * STEP_NS, Kind.DETACH, 0, 0, 0, 0, 0, None)])


def tracker(events: int, processes: int) -> dict[str, Any]:
    """Without spans: page lives alone."""
    tracked = PageTracker(spans=False)
    took = 0.0
    for batch in stream(events, processes):
        with timed() as part:
            tracked.update(batch)
        took += part.cpu_s
    assert not tracked.unexplained(), tracked.unexplained()
    return {"cpu_s": took, "peak_bytes": peak_bytes()}


def report(events: int, processes: int) -> dict[str, Any]:
    """All that `binder-observe report` does after reading, up to the JSON's dictionary."""
    observation = Observation(META)
    took = 0.0
    for batch in stream(events, processes):
        with timed() as part:
            observation.feed(batch)
        took += part.cpu_s
    with timed() as part:
        report = summarize(observation)
        report.to_dict()
    assert report.events == events
    assert not report.unexplained
    return {"cpu_s": took + part.cpu_s, "summary_s": part.cpu_s, "peak_bytes": peak_bytes()}


def whole(events: int, processes: int) -> EventBatch:
    """The stream in one batch, for tests."""
    return concat(stream(events, processes))

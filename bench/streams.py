"""Long event streams: a scenario of the simulator, over and over, with the events that are probed by default.

Each repetition has allocs and times of its own; at its end the mappings that are left are released, but for the last
one's. Nothing is lost in them and every event is legal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from bench.measure import WORK
from binder_observe.events import BY_KIND, COLUMNS, DTYPE, EventBatch, Kind, concat, from_records
from binder_observe.recording import BATCH_ROWS, RecordingReader, RecordingWriter
from binder_observe.sources import Meta
from binder_observe.sources.simulator import SimulatorSource
from binder_observe.tracker import MAX_ALLOCS

META: Final = Meta(source="simulated", kernel="6.14", generation="6.14", page_size=4096, tool_version="0")
_SECONDS: Final = {"steady": 10.0}  # what is long enough for a varied course, and short enough to be made quickly


def simulated(scenario: str) -> Path:
    """A recording of the scenario, made once."""
    path = WORK / f"{scenario}.arrows"
    if not path.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        source = SimulatorSource(scenario, duration_s=_SECONDS.get(scenario))
        partial = path.with_suffix(".partial")
        with RecordingWriter(partial, source.meta, force=True) as writer:
            for batch in source.batches():
                writer.write(batch)
        partial.rename(path)
    return path


@cache
def _body(scenario: str) -> tuple[EventBatch, EventBatch]:
    """The events between ATTACH and DETACH, and the releases of the mappings that are left."""
    with RecordingReader(simulated(scenario)) as reader:
        everything = concat(reader.batches())
    body = _default(everything.slice(1, len(everything) - 1))
    left = np.setdiff1d(body.alloc[body.kind == Kind.MMAP], body.alloc[body.kind == Kind.RELEASE_END])
    rows = np.zeros(2 * len(left), dtype=DTYPE)
    rows["alloc"] = np.repeat(left, 2)
    rows["kind"] = np.tile([Kind.RELEASE_START, Kind.RELEASE_END], len(left))
    rows["ts_ns"] = body.ts_ns[-1] + 1 + np.arange(len(rows))
    return body, from_records(rows)


def _default(batch: EventBatch) -> EventBatch:
    """What is left without `--latency`; the simulator writes every kind."""
    kept = np.flatnonzero(np.isin(batch.kind, [kind for kind, row in BY_KIND.items() if row.default]))
    names = {int(np.searchsorted(kept, row)): name for row, name in batch.names.items()}
    return EventBatch(**{c: getattr(batch, c)[kept] for c in COLUMNS}, names=names)


def repeated(scenario: str, events: int) -> Iterator[EventBatch]:
    """At least that many events, as they come from a source: ATTACH first, DETACH last."""
    body, releases = _body(scenario)
    allocs = int(body.alloc.max())
    period = int(releases.ts_ns[-1] if len(releases) else body.ts_ns[-1]) - int(body.ts_ns[0]) + 1
    origin = int(body.ts_ns[0])
    yield _mark(Kind.ATTACH, origin - 1)
    made = 0
    repetition = 0
    while made < events:
        parts = (body,) if made + len(body) >= events else (body, releases)
        for part in parts:
            shifted = _shifted(part, repetition * allocs, repetition * period)
            made += len(part)
            for start in range(0, len(part), BATCH_ROWS):
                yield shifted.slice(start, min(start + BATCH_ROWS, len(part)))
        repetition += 1
    assert repetition * allocs <= MAX_ALLOCS
    yield _mark(Kind.DETACH, origin + repetition * period)


def whole(scenario: str) -> Iterator[EventBatch]:
    """One run of the scenario with every kind of event that the simulator writes."""
    with RecordingReader(simulated(scenario)) as reader:
        yield from reader.batches()


def _shifted(part: EventBatch, allocs: int, ns: int) -> EventBatch:
    alloc = np.where(part.alloc == 0, part.alloc, part.alloc + np.uint32(allocs))
    return replace(part, alloc=alloc, ts_ns=part.ts_ns + ns)


def _mark(kind: Kind, ts_ns: int) -> EventBatch:
    return from_records(np.array([(ts_ns, kind, 0, 0, 0, 0, 0)], dtype=DTYPE))


def record(path: Path, batches: Iterator[EventBatch], meta: Meta = META) -> int:
    """Writes a recording of the batches; returns how many rows it has."""
    with RecordingWriter(path, meta, force=True) as writer:
        for batch in batches:
            writer.write(batch)
    return writer.saved_events

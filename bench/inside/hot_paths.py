"""Each stage of a hot path alone, and what no stage could go below on this machine: passes over the same columns."""

from __future__ import annotations

import cProfile
import os
import pstats
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from bench import streams
from bench.inside import growth
from bench.measure import timed
from binder_observe.analysis.summary import summarize
from binder_observe.events import COLUMNS, EventBatch, concat
from binder_observe.observation import Observation
from binder_observe.recording import RecordingReader, RecordingWriter
from binder_observe.recording.format import ZSTD_LEVEL, checksum
from binder_observe.sources.simulator import SimulatorSource
from binder_observe.tracker import PageTracker

TRACKED: Final = ("ts_ns", "kind", "alloc", "page", "tgid", "tid")  # what the tracker reads of an event
MOST_FUNCTIONS: Final = 6


def stages(path: str) -> dict[str, Any]:
    """Processor seconds of each stage for the recording, and how many events that is."""
    with RecordingReader(path) as reader:
        batches = list(reader.batches())
    whole = concat(batches)
    columns = [getattr(whole, c) for c in TRACKED]
    into = [np.zeros_like(c) for c in columns]
    copy = Path(path).with_suffix(".copy")

    def copy_columns() -> None:
        for a, b in zip(into, columns, strict=True):
            np.copyto(a, b)

    def feed(tracker: PageTracker, parts: list[EventBatch]) -> None:
        for batch in parts:
            tracker.update(batch)

    def observe() -> Observation:
        observation = Observation(streams.META)
        for batch in batches:
            observation.feed(batch)
        return observation

    def read() -> None:
        with RecordingReader(path) as reader:
            for _ in reader.batches():
                pass

    def write() -> None:
        with RecordingWriter(copy, streams.META, force=True) as writer:
            for batch in batches:
                writer.write(batch)

    def compress() -> None:
        codec = pa.Codec("zstd", ZSTD_LEVEL)
        for batch in batches:
            for c in COLUMNS:
                codec.compress(getattr(batch, c))

    regular = list(growth.stream(len(whole), processes=10))
    observation = observe()
    took = {
        "copy of the columns": _cpu_s(copy_columns),
        "sum of the columns": _cpu_s(lambda: [c.sum() for c in columns]),
        "tracker": _cpu_s(lambda: feed(PageTracker(spans=False), batches)),
        "tracker, regular stream": _cpu_s(lambda: feed(PageTracker(spans=False), regular)),
        "tracker, spans": _cpu_s(lambda: feed(PageTracker(), batches)),
        "tracker, spans and totals": _cpu_s(observe),
        "summary": _cpu_s(lambda: summarize(observation).to_dict()),
        "reader": _cpu_s(read),
        "reader: Arrow and zstd alone": _cpu_s(lambda: _decompress(path)),
        "reader, writer: checksum alone": _cpu_s(lambda: [_checksum(b) for b in batches]),
        "writer": _cpu_s(write),
        "writer: zstd alone": _cpu_s(compress),
    }
    os.unlink(copy)
    return {"events": len(whole), "bytes": sum(c.nbytes for c in columns), "cpu_s": took}


def _cpu_s(stage: Callable[[], object]) -> float:
    with timed() as took:
        stage()
    return took.cpu_s


def _decompress(path: str) -> None:
    with pa.ipc.open_stream(path) as stream:
        for _ in stream:
            pass


def _checksum(batch: EventBatch) -> int:
    return zlib.crc32(checksum({c: getattr(batch, c) for c in COLUMNS}, batch.names))


def simulator(scenario: str) -> dict[str, Any]:
    """Where the simulator's time goes, and how many calls of Python functions it makes."""
    source = SimulatorSource(scenario, duration_s=2.0)
    return _profile(lambda: sum(len(batch) for batch in source.batches()))


def report(path: str) -> dict[str, Any]:
    """Where the time of `binder-observe report` goes, after its imports."""

    def run() -> int:
        observation = Observation(streams.META)
        with RecordingReader(path) as reader:
            for batch in reader.batches():
                observation.feed(batch)
        return summarize(observation).events

    run()  # what is imported on the way is
    return _profile(run)


def _profile(work: Callable[[], int]) -> dict[str, Any]:
    profile = cProfile.Profile()
    with timed() as took:
        events = profile.runcall(work)
    stats: Any = pstats.Stats(profile)
    own = {
        name if file == "~" else f"{Path(file).name}: {name}": figures[2]  # "~": written in C
        for (file, _, name), figures in stats.stats.items()
    }
    first = sorted(own, key=lambda name: -own[name])[:MOST_FUNCTIONS]
    total = sum(own.values())
    return {
        "events": events,
        "calls": stats.total_calls,
        "cpu_s": took.cpu_s,
        "shares": {name: own[name] / total for name in first},
    }

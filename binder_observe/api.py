"""The Python interface: `import binder_observe as bo`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from binder_observe.analysis.summary import Report, summarize
from binder_observe.events import EventBatch
from binder_observe.observation import Observation
from binder_observe.sources import Generation, Meta, Source
from binder_observe.sources.recording import RecordingSource
from binder_observe.sources.simulator import SimulatorSource


class Recording:
    """Events that can be read again and again, from a file or a simulation."""

    def __init__(self, source: Callable[[], Source]) -> None:
        self._source = source
        first = source()
        self.meta: Meta = first.meta
        first.close()

    def batches(self) -> Iterator[EventBatch]:
        """The events in causal order, batch by batch (columns: `binder_observe.events.COLUMNS`)."""
        source = self._source()
        try:
            yield from source.batches()
        finally:
            source.close()

    def report(self) -> Report:
        """The page-lifetime report; `to_dict()` is the JSON report. Raises ObserveError on damage."""
        observation = Observation(self.meta)
        source = self._source()
        try:
            for batch in source.batches():
                observation.feed(batch)
            note = getattr(source, "note", None)
        finally:
            source.close()
        return summarize(observation, (note,) if note else ())


def open_recording(path: str | os.PathLike[str]) -> Recording:
    """A recorded file. Raises ObserveError when it is none."""
    return Recording(lambda: RecordingSource(path))


def simulate(
    scenario: str | Path = "steady",
    *,
    seed: int = 0,
    duration_s: float | None = None,
    kernel: Generation = "6.14",
    page_size: int | None = None,
) -> Recording:
    """A run of the simulator, made anew each time it is read: the same arguments give the same bytes.

    `scenario` is a name from `binder-observe simulate --list` or the path of a .toml file; `duration_s` and `page_size`
    (bytes) stand in for the scenario's own. Raises ObserveError for a scenario that is not there or has a mistake.
    """
    return Recording(
        lambda: SimulatorSource(scenario, seed=seed, duration_s=duration_s, generation=kernel, page_size=page_size)
    )

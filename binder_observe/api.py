"""The Python interface: `import binder_observe as bo`."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from binder_observe.analysis.summary import Report, summarize
from binder_observe.errors import ObserveError
from binder_observe.events import COLUMNS, EventBatch, Kind, concat
from binder_observe.files import write_private
from binder_observe.history import History, collect
from binder_observe.observation import Observation
from binder_observe.sources import Generation, Meta, Source
from binder_observe.sources.recording import RecordingSource
from binder_observe.sources.simulator import SimulatorSource

if TYPE_CHECKING:
    import pandas as pd

    from binder_observe.reports.comparison.report import ComparisonReport


class Recording:
    """Events that can be read again and again, from a file or a simulation.

    `batches()` and `report()` read them in memory that does not grow with their number; `history` keeps every life,
    span and install attempt, and the frames and plots are made of it.
    """

    def __init__(self, source: Callable[[], Source]) -> None:
        self._source = source
        self._history: History | None = None
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

    def events(self) -> pd.DataFrame:
        """One row an event, in causal order: ts_ns (CLOCK_BOOTTIME), kind (category), alloc, page, cpu, tgid, tid and
        name (of descriptions only), as docs/events.md describes them."""
        import pandas as pd

        from binder_observe.frames.columns import names_of

        batch = concat(self.batches())
        columns = {c: getattr(batch, c) for c in COLUMNS} | {"kind": names_of(batch.kind, list(Kind))}
        frame = pd.DataFrame(columns, copy=False)
        frame["name"] = pd.Series(dict(batch.names), dtype="string").reindex(frame.index)
        return frame

    @property
    def history(self) -> History:
        """Everything in memory, read once. Raises ObserveError on damage."""
        if self._history is None:
            source = self._source()
            try:
                self._history = collect(source.meta, source.batches(), lambda: _notes(source))
            finally:
                source.close()
        return self._history

    def lifetimes(self) -> pd.DataFrame:
        """One row a page life; the columns are those of `df_lifetimes`."""
        from binder_observe.frames import df_lifetimes

        return df_lifetimes(self.history)

    def processes(self) -> pd.DataFrame:
        """One row a binder_alloc; the columns are those of `df_processes`."""
        from binder_observe.frames import df_processes

        return df_processes(self.history)

    def report(self) -> PageReport:
        """The page-lifetime report. Raises ObserveError on damage."""
        if self._history is not None:
            return PageReport(self._history.report, self)
        source = self._source()
        try:
            observation = Observation(self.meta)
            for batch in source.batches():
                observation.feed(batch)
            return PageReport(summarize(observation, _notes(source)), self)
        finally:
            source.close()


class PageReport:
    """The page-lifetime report in every form; `data` is what they are all written from."""

    def __init__(self, data: Report, recording: Recording) -> None:
        self.data = data
        self._recording = recording

    def to_dict(self) -> dict[str, object]:
        """The JSON report, as docs/report.md describes it."""
        return self.data.to_dict()

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def to_html(self, path: str | os.PathLike[str] | None = None, *, force: bool = False) -> str:
        """The page with its pictures, self-contained; written to `path`, too, when there is one (mode 0600).

        Raises ObserveError when the file exists and `force` is false, or cannot be written.
        """
        from binder_observe.reports.html import render

        page = render(self._recording.history)
        if path is not None:
            write_private(path, page, force=force)
        return page

    def __str__(self) -> str:
        from binder_observe.reports import terminal

        out = io.StringIO()
        terminal.write(self.data, out)
        return out.getvalue()

    def _repr_html_(self) -> str:
        from binder_observe.reports.notebook import render

        return render(self.data)


def _notes(source: Source) -> tuple[str, ...]:
    return source.notes if isinstance(source, RecordingSource) else ()


def open_recording(path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Recording:
    """A recorded file, or the pieces of a rotated one: several paths in any order, a folder, a pattern, or the name
    that the pieces have theirs from. Raises ObserveError when it is none, and when the pieces are not those of one."""
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    if not paths:
        raise ObserveError("which recording? no path was given")
    return Recording(lambda: RecordingSource(*paths))


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


def compare(a: Recording | History, b: Recording | History) -> ComparisonReport:
    """What differs in `b` from `a`, with confidence, the most important first; docs/compare.md says how."""
    from binder_observe.comparison import compare_histories
    from binder_observe.reports.comparison.report import ComparisonReport

    first, second = (x.history if isinstance(x, Recording) else x for x in (a, b))
    return ComparisonReport(compare_histories(first, second))

"""Reads recordings for commands, with a bar on stderr while it takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from binder_observe.events import EventBatch

if TYPE_CHECKING:
    from binder_observe.history import History


def progress(
    batches: Iterator[EventBatch], fraction: Callable[[], float], what: str, *, quiet: bool = False
) -> Iterator[EventBatch]:
    """The batches, with a bar that follows `fraction()` (0 to 1) where stderr is a terminal; it leaves no trace."""
    if quiet or not sys.stderr.isatty():
        yield from batches
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        for batch in batches:
            bar.update(task, completed=fraction())
            yield batch


@contextmanager
def working(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Says on stderr, where that is a terminal, what takes its time; it leaves no trace."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what}..."):
        yield


def read_history(path: str, *, quiet: bool = False) -> History:
    """A whole recording, in memory. Raises ObserveError when it is none."""
    from binder_observe.history import collect
    from binder_observe.sources.recording import RecordingSource

    source = RecordingSource(path)
    try:
        batches = progress(source.batches(), lambda: source.fraction, f"reading {path}", quiet=quiet)
        return collect(source.meta, batches, lambda: source.notes)
    finally:
        source.close()

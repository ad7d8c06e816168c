"""Runs a source to its end: tracker, recording and the screen, and the signals that stop it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import click

from binder_observe.analysis.summary import Report, summarize
from binder_observe.commands.checking import Checker, KernelCounts
from binder_observe.events import EventBatch
from binder_observe.observation import Observation
from binder_observe.recording import RecordingWriter
from binder_observe.reports import terminal
from binder_observe.rotation import PieceWriter, Rotation
from binder_observe.sources import Source


def observe(
    source: Source,
    *,
    duration: float | None = None,
    interval: float = 1.0,
    output: str | None = None,
    force: bool = False,
    rotation: Rotation | None = None,
    quiet: bool = False,
    banner: str | None = None,
    screen: bool = True,
    counts: KernelCounts | None = None,
) -> Report:
    """Feeds every batch of the source to the tracker, and to a recording when `output` is given (in pieces with
    `rotation`); closes the source.

    Ends at the source's end, after `duration` seconds, or by SIGINT or SIGTERM. On a terminal a table refreshes on
    stderr every `interval` seconds (with `screen`), otherwise it gets a line; `quiet` keeps stderr empty.
    With `counts`, what is tracked is compared with the kernel's own counts in the end, or more often.

    Raises ObserveError when the recording cannot be written, or the kernel's counts cannot be read; what was flushed
    before is on disk.
    """
    observation = Observation(source.meta)
    with ExitStack() as stack:
        stack.callback(source.close)
        # Flushed well within the second that a crash may cost at most, given that the source is read every 0.1 s.
        flush_s = 0.75
        writer: RecordingWriter | PieceWriter | None = None
        pieces: PieceWriter | None = None
        if output and rotation:
            writer = pieces = PieceWriter(output, source.meta, rotation, force=force, flush_interval_s=flush_s)
        elif output:
            writer = RecordingWriter(output, source.meta, force=force, flush_interval_s=flush_s)
        if writer:
            stack.enter_context(writer)
        if banner and not quiet:
            click.echo(banner, err=True)
        view = None if quiet else stack.enter_context(_view(screen))
        batches = source.batches()

        def keep(batch: EventBatch) -> None:
            if writer:
                writer.write(batch)
            observation.feed(batch)
            if pieces:
                pieces.turn(observation)

        def take() -> EventBatch | None:
            batch = next(batches, None)
            if batch is not None:
                keep(batch)
            return batch

        checker = Checker(counts, observation, take) if counts else None
        stopping = stack.enter_context(_stopped_by_signals(source, at_once=checker is None))
        stopped = False
        begin = shown = checked = time.monotonic()
        while take() is not None:
            now = time.monotonic()
            if not stopped and (stopping or (duration is not None and now - begin >= duration)):
                if checker:
                    keep(checker.check())
                source.stop()
                stopped = True
            elif checker and counts and not stopped and counts.every is not None and now - checked >= counts.every:
                keep(checker.check())
                checked = time.monotonic()
            if view and now - shown >= interval:
                shown = now
                view(summarize(observation))
    return summarize(observation)


@contextmanager
def _stopped_by_signals(source: Source, *, at_once: bool) -> Iterator[list[int]]:
    """The first SIGINT or SIGTERM ends the observation in order; a second SIGINT ends the program.

    Yields a list that is not empty from the first signal on. The source is stopped `at_once`, or by the caller.
    """
    signals: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        if at_once:
            source.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _view(screen: bool) -> Iterator[Any]:
    """Yields what shows a report meanwhile."""
    if not (screen and sys.stderr.isatty()):
        yield lambda report: click.echo(terminal.interval_line(report), err=True)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda report: live.update(terminal.render_live(report, console.height), refresh=True)

"""`binder-observe top`: a screen that refreshes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from binder_observe.commands.options import POSITIVE, LiveOptions, live_options
from binder_observe.errors import ObserveError

if TYPE_CHECKING:
    from binder_observe.sources import Source
    from binder_observe.top.collector import Collector
    from binder_observe.top.playback import Playback

_UNENDING_S = 1e8  # simulated seconds; a scenario's own end would come too soon for somebody who watches


@click.command("top")
@click.argument("file", metavar="[FILE]", required=False)
@live_options
@click.option(
    "--simulate",
    "scenario",
    is_flag=False,
    flag_value="steady",
    metavar="[SCENARIO]",
    help="Watch the simulator instead of this machine.  [default scenario: steady]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="With --simulate: the seed of the scenario.")
@click.option("--speed", type=POSITIVE, metavar="X", help="With FILE: play so many times as fast.  [default: 1]")
@click.option("-o", "--output", metavar="FILE", help="Keep the events in FILE, too.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
def top(
    file: str | None,
    options: LiveOptions,
    scenario: str | None,
    seed: int,
    speed: float | None,
    output: str | None,
    force: bool,
) -> None:
    """Watch processes on a screen that refreshes: sort, filter, pause, look into one; `?` is help, q quits.

    FILE is a recording, which is played back. With --json the final report goes to stdout.

    \b
    Examples:
      sudo binder-observe top
      sudo binder-observe top -p 1234 -o trace.arrows
      binder-observe top trace.arrows --speed 10
      binder-observe top --simulate memory-pressure
    """
    _check_usage(file, scenario, options, seed, speed, output)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ObserveError("top needs a terminal; without top, binder-observe prints a line an interval")
    from binder_observe.files import check_absent
    from binder_observe.recording import RecordingWriter
    from binder_observe.top import collector as collecting
    from binder_observe.top.app import TopApp

    check_absent(output, force)
    notes: Callable[[], tuple[str, ...]] = tuple
    playback: Playback | None = None
    source: Source
    clock: Callable[[], int]
    if file is not None:
        from binder_observe.sources.recording import RecordingSource
        from binder_observe.top import playback as paced

        source = played = playback = paced.Playback(RecordingSource(file), speed or 1.0)
        notes, clock, what = (lambda: played.notes), (lambda: played.position_ns), file
    elif scenario is not None:
        from binder_observe.sources.simulator import SimulatorSource

        source = simulated = SimulatorSource(
            scenario, seed=seed, duration_s=options.duration or _UNENDING_S, realtime=True
        )
        clock, what = (lambda: simulated.kernel.trace.now), f"scenario {simulated.scenario.name}"
    else:
        from binder_observe.commands.live import ebpf_source

        source = machine = ebpf_source(options)
        clock = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)  # noqa: E731
        what = f"binder pages of {options.selection()}" if options.selection() else "binder pages"
        what += " (waiting)" if machine.waiting else ""
    try:
        writer = RecordingWriter(output, source.meta, force=force, flush_interval_s=0.75) if output else None
    except BaseException:
        source.close()
        raise
    collector = collecting.Collector(
        source, clock, interval_s=options.interval, notes=notes, whole=writer, duration_s=options.duration
    )

    def hung_up() -> None:
        _say_goodbye_to_nobody(collector, options.as_json)
        os._exit(128 + signal.SIGHUP)

    app = TopApp(collector, what, playback=playback, leave=options.duration is not None, hung_up=hung_up)
    collector.start()
    try:
        app.run()
    finally:
        collector.stop()
        collector.join()
    if app.ending is not None:
        app.ending.join()
    if collector.error is not None:
        raise collector.error
    if app.return_code:
        raise SystemExit(app.return_code)  # textual has printed the traceback
    _say_goodbye(collector, options.as_json, options.quiet)


def _check_usage(
    file: str | None,
    scenario: str | None,
    options: LiveOptions,
    seed: int,
    speed: float | None,
    output: str | None,
) -> None:
    if file is not None and scenario is not None:
        raise click.UsageError("a recording or --simulate: leave one out")
    if file is not None or scenario is not None:
        options.refuse_kernel_options(None, "--simulate" if file is None else "FILE")
    options.check_wait()
    if file is not None and output is not None:
        raise click.UsageError("FILE is a recording already: leave --output out")
    if file is None and speed is not None:
        raise click.UsageError("--speed goes with a recording")
    if scenario is None and seed:
        raise click.UsageError("--seed goes with --simulate")


def _say_goodbye(collector: Collector, as_json: bool, quiet: bool) -> None:
    """What the numbers were worth, and where the events are, once the terminal is as it was."""
    from binder_observe.analysis.names import printable
    from binder_observe.commands.live import write_report
    from binder_observe.reports.terminal import quality
    from binder_observe.top.lines import saved

    frame = collector.frame
    if frame is None:
        return
    if not quiet:
        click.echo(printable(quality(frame.report)), err=True)
        if collector.saving:
            click.echo(saved(collector.saving, frame.begin_ns), err=True)
    if as_json:
        write_report(frame.report, as_json)


def _say_goodbye_to_nobody(collector: Collector, as_json: bool) -> None:
    """stderr was the terminal that is gone; stdout may have been, too."""
    with contextlib.suppress(OSError):
        _say_goodbye(collector, as_json, quiet=True)
        sys.stdout.flush()

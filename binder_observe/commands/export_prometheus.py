"""`binder-observe export --prometheus`: metrics over HTTP, from a live observation or the simulator."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from binder_observe.commands.options import LiveOptions
    from binder_observe.exporter.server import Server
    from binder_observe.exporter.worker import MakeAuditor, Worker
    from binder_observe.sources import Source
    from binder_observe.sources.ebpf import EbpfSource

# Outside of the crowded 9100 to 9999 that exporters are given, none of /etc/services, and below the ports that Linux
# gives to outgoing connections (32768 and up). A choice; nobody has reserved it for us.
DEFAULT: Final = "127.0.0.1:19477"
LINGER_S: Final = 60.0  # after the end of a source: some scrapes see why, before a supervisor starts it anew
_UNENDING_S: Final = 1e8  # simulated seconds


def address(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, int] | None:
    """The option's callback."""
    from binder_observe.exporter.server import parse_address

    if value is None:
        return None
    try:
        return parse_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def serve(
    where: tuple[str, int],
    *,
    options: LiveOptions,
    check: float | None,
    scenario: str | None,
    seed: int,
    most: int,
    linger_s: float = LINGER_S,
) -> None:
    """Until a signal, `options.duration`, or some time after the end of the source."""
    if scenario is not None:
        options.refuse_kernel_options(check, "--simulate")
    options.check_wait()
    if scenario is None and seed:
        raise click.UsageError("--seed goes with --simulate")
    from binder_observe.exporter.collector import registry
    from binder_observe.exporter.server import Server
    from binder_observe.exporter.worker import Worker

    with ExitStack() as stack:
        server = Server(*where)  # before anything is attached
        stack.callback(server.stop)
        clock: Callable[[], int]
        auditor: MakeAuditor | None = None
        whom = ""
        if scenario is not None:
            from binder_observe.sources.simulator import SimulatorSource

            simulated = SimulatorSource(scenario, seed=seed, duration_s=options.duration or _UNENDING_S, realtime=True)
            source: Source = simulated
            clock = lambda: simulated.kernel.trace.now  # noqa: E731
        else:
            from binder_observe.commands.live import ebpf_source

            source = machine = ebpf_source(options)
            whom = f", waiting for {options.selection()}" if machine.waiting else ""
            auditor = _auditor(machine, options.quiet) if check is not None else None
            clock = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)  # noqa: E731
        stack.callback(source.close)
        worker = Worker(
            source, clock, most=most, interval_s=options.interval, duration_s=options.duration, auditor=auditor,
            check_s=check or 0.0,
        )  # fmt: skip
        if not options.quiet:
            _say_hello(server, scenario, whom)
        with _signals(worker) as signalled:
            worker.start()
            server.start(registry(worker), worker.health)
            while not worker.ended.wait(0.2):
                pass
            if options.duration is None:
                _linger(worker, signalled, linger_s, options.quiet)
        worker.join()
    if worker.error is not None:
        raise worker.error
    _say_goodbye(worker, options.as_json, options.quiet)


def _auditor(source: EbpfSource, quiet: bool) -> MakeAuditor | None:
    from binder_observe.commands.checking import Checker, kernel_counts

    counts = kernel_counts(source, None)
    if counts is None:
        if not quiet:
            click.echo("binder-observe: the kernel's own counts cannot be read here: nothing is checked", err=True)
        return None
    return lambda observation, take: Checker(counts, observation, take)


@contextmanager
def _signals(worker: Worker) -> Iterator[list[int]]:
    """The first SIGINT or SIGTERM ends it in order, a second SIGINT at once; yields the signals that came."""
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if not worker.ended.is_set():
            worker.source.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _linger(worker: Worker, signalled: list[int], linger_s: float, quiet: bool) -> None:
    """/healthz says for some time why there is nothing new."""
    if not signalled and not quiet:
        why = worker.health().reason
        click.echo(f"binder-observe: {why}; /healthz says so for {linger_s:g} s, then this ends", err=True)
    end = time.monotonic() + linger_s
    while not signalled and time.monotonic() < end:
        time.sleep(min(0.2, max(end - time.monotonic(), 0)))


def _say_hello(server: Server, scenario: str | None, whom: str = "") -> None:
    if not server.is_local:
        click.echo(
            f"binder-observe: warning: whoever reaches {server.url} reads which processes run on this machine and what"
            f" they do with binder; nobody is asked for a password",
            err=True,
        )
    what = f"binder pages{whom}" if scenario is None else f"SIMULATED binder pages (scenario {scenario})"
    click.echo(f"Serving metrics of {what} at {server.url}/metrics... Hit Ctrl-C to end.", err=True)


def _say_goodbye(worker: Worker, as_json: bool, quiet: bool) -> None:
    """What the numbers were worth."""
    from binder_observe.analysis.names import printable
    from binder_observe.commands.live import write_report
    from binder_observe.reports.terminal import quality

    if worker.snapshot is None:
        return
    if not quiet:
        click.echo(printable(quality(worker.snapshot.report)), err=True)
    if as_json:
        write_report(worker.snapshot.report, as_json)

"""The plain command: live, or from the simulator, with the report at the end."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import click

from binder_observe.errors import ObserveError, UnsupportedError

if TYPE_CHECKING:
    from binder_observe.analysis.summary import Report
    from binder_observe.commands.options import LiveOptions
    from binder_observe.rotation import Rotation
    from binder_observe.sources import Source
    from binder_observe.sources.ebpf import EbpfSource


def live(
    *,
    options: LiveOptions,
    check: float | None,
    scenario: str | None,
    seed: int,
    realtime: bool,
    output: str | None,
    force: bool,
    rotate: Rotation | None,
    keep: int | None,
) -> None:
    """Observes and prints the report."""
    from binder_observe.commands.checking import kernel_counts
    from binder_observe.commands.observe import observe
    from binder_observe.commands.options import rotation
    from binder_observe.files import check_absent
    from binder_observe.rotation import check_no_pieces

    parts = rotation(rotate, keep, output)
    if output is not None:
        (check_no_pieces if parts else check_absent)(output, force)
    if scenario is not None:
        options.refuse_kernel_options(check, "--simulate")
    options.check_wait()
    if scenario is None and (realtime or seed):
        raise click.UsageError("--realtime and --seed go with --simulate")
    if scenario is None and not options.selection() and not _has_binder():
        click.echo(
            "binder-observe: this machine has no binder: what follows is SIMULATED (scenario steady);"
            " `binder-observe doctor` tells what is missing",
            err=True,
        )
        scenario = "steady"
    counts = None
    duration = options.duration
    if scenario is not None:
        from binder_observe.sources.simulator import SimulatorSource

        source: Source = SimulatorSource(scenario, seed=seed, duration_s=duration, realtime=realtime)
        banner = f"Simulating binder pages (scenario {scenario})... Hit Ctrl-C to end."
        duration = None  # the simulated clock keeps it
    else:
        source = machine = ebpf_source(options)
        banner = tracing(machine, options)
        counts = kernel_counts(machine, check)
    report = observe(
        source, duration=duration, interval=options.interval, output=output, force=force, rotation=parts,
        quiet=options.quiet, banner=banner, screen=not options.as_json, counts=counts,
    )  # fmt: skip
    write_report(report, options.as_json)


def tracing(source: EbpfSource, options: LiveOptions) -> str:
    """What is said once every probe is attached."""
    whom = f", waiting for {options.selection()}" if source.waiting else ""
    return f"Tracing binder pages{whom}... Hit Ctrl-C to end."


def ebpf_source(options: LiveOptions) -> EbpfSource:
    """The attached live source; raises UnsupportedError with the first thing that this machine lacks."""
    from binder_observe import doctor
    from binder_observe.sources.probes import check_ring_bytes

    try:
        check_ring_bytes(options.buffer_size)
    except ObserveError as error:
        raise click.BadParameter(str(error), param_hint="--buffer-size") from error
    machine = doctor.Machine()
    for check in (
        doctor.check_privilege(machine),
        doctor.check_driver(machine),
        doctor.check_btf(machine)[0],
        doctor.check_lockdown(machine),
        doctor.check_headers(machine),
    ):
        if check.status == "missing":
            mend = check.mend.replace("sudo binder-observe doctor", "sudo binder-observe") if check.mend else None
            raise UnsupportedError(f"{check.title}: {check.detail}", mend)

    from binder_observe.sources.ebpf import EbpfSource
    from binder_observe.sources.pids import check_pids

    if not options.wait:
        check_pids(options.pids)
    # The tracker's loop is compiled (or read from its cache) before anything is attached.
    import binder_observe.transitions  # noqa: F401

    source = EbpfSource(
        options.selection(), wait=options.wait, latency=options.latency, ring_bytes=options.buffer_size,
        command=shlex.join(sys.argv[1:]),
    )  # fmt: skip
    if source.missing and not options.quiet:
        click.echo(f"binder-observe: this kernel lacks {', '.join(source.missing)}; going on without", err=True)
    if options.verbose:
        meta = source.meta
        click.echo(f"kernel {meta.kernel}, allocator {meta.generation}, page size {meta.page_size}", err=True)
        click.echo(f"attached: {', '.join(meta.probes)}; ring buffer {options.buffer_size} bytes", err=True)
    return source


def write_report(report: Report, as_json: bool) -> None:
    """To stdout."""
    from binder_observe.reports import as_json as json_writer
    from binder_observe.reports import terminal

    (json_writer if as_json else terminal).write(report, sys.stdout)


def _has_binder() -> bool:
    from binder_observe.doctor import Machine

    # a driver that is there and unloaded, or the Rust one, is a matter for the doctor, not for the simulator
    machine = Machine()
    return machine.driver != "none" or "/binder_linux.ko" in machine.module_files

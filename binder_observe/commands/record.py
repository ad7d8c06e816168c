"""`binder-observe record`: live events into a file, for later."""

from __future__ import annotations

import click

from binder_observe.commands.options import check_option, live_options


@click.command("record")
@live_options
@check_option
@click.option("-o", "--output", metavar="FILE", required=True, help="Where the events go; mode 0600.")
@click.option("-f", "--force", is_flag=True, help="Overwrite FILE.")
def record(
    pids: tuple[int, ...],
    duration: float | None,
    interval: float,
    latency: bool,
    buffer_size: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    check: float | None,
    output: str,
    force: bool,
) -> None:
    """Record events to a file until Ctrl-C or --duration; `binder-observe report FILE` reads it.

    \b
    Example:
      sudo binder-observe record -o trace.arrows -d 60
    """
    from binder_observe.commands.checking import kernel_counts
    from binder_observe.commands.live import ebpf_source, write_report
    from binder_observe.commands.observe import observe
    from binder_observe.files import check_absent

    check_absent(output, force)
    source = ebpf_source(pids, latency, buffer_size, quiet, verbose)
    report = observe(
        source, duration=duration, interval=interval, output=output, force=force, quiet=quiet,
        banner="Tracing binder pages... Hit Ctrl-C to end.", screen=not as_json,
        counts=kernel_counts(source, check),
    )  # fmt: skip
    if as_json:
        write_report(report, as_json)
    elif not quiet:
        click.echo(f"{report.events} events in {output}, {report.lost_events} lost", err=True)

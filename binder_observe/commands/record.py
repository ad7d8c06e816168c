"""`binder-observe record`: live events into a file, for later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from binder_observe.commands.options import LiveOptions, check_option, live_options, rotation, rotation_options

if TYPE_CHECKING:
    from binder_observe.rotation import Rotation


@click.command("record")
@live_options
@check_option
@click.option("-o", "--output", metavar="FILE", required=True, help="Where the events go; mode 0600.")
@click.option("-f", "--force", is_flag=True, help="Overwrite FILE.")
@rotation_options
def record(
    options: LiveOptions,
    check: float | None,
    output: str,
    force: bool,
    rotate: Rotation | None,
    keep: int | None,
) -> None:
    """Record events to a file until Ctrl-C or --duration; `binder-observe report FILE` reads it.

    \b
    Examples:
      sudo binder-observe record -o trace.arrows -d 60
      sudo binder-observe record -o trace.arrows --rotate 10m --keep 6
    """
    from binder_observe.commands.checking import kernel_counts
    from binder_observe.commands.live import ebpf_source, tracing, write_report
    from binder_observe.commands.observe import observe
    from binder_observe.files import check_absent
    from binder_observe.recording.pieces import pieces_of
    from binder_observe.rotation import check_no_pieces

    options.check_wait()
    parts = rotation(rotate, keep, output)
    (check_no_pieces if parts else check_absent)(output, force)
    source = ebpf_source(options)
    report = observe(
        source, duration=options.duration, interval=options.interval, output=output, force=force, rotation=parts,
        quiet=options.quiet, banner=tracing(source, options), screen=not options.as_json,
        counts=kernel_counts(source, check),
    )  # fmt: skip
    if options.as_json:
        write_report(report, options.as_json)
    elif not options.quiet:
        where = output
        if parts:
            files = pieces_of(output)
            where = " to ".join(files if len(files) < 2 else (files[0], files[-1]))
        click.echo(f"{report.events} events in {where}, {report.lost_events} lost", err=True)

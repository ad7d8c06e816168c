"""`binder-observe export`: a frame of a recording as CSV or Parquet, or metrics of a live observation over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from inspect import signature
from typing import TYPE_CHECKING, Any

import click

from binder_observe.commands.export_prometheus import DEFAULT, address, serve
from binder_observe.commands.options import LiveOptions, check_option, live_options
from binder_observe.errors import ObserveError

if TYPE_CHECKING:
    import pandas as pd

    from binder_observe.history import History

FORMATS = ("csv", "parquet")


@click.command("export")
@click.argument("file", metavar="[FILE]", required=False)
@click.argument("frame", metavar="[FRAME]", required=False)
@click.option("-l", "--list", "list_", is_flag=True, help="Name the frames with what a row of each is, and leave.")
@click.option("-o", "--output", metavar="OUT", help="Where it goes, mode 0600; without it, CSV on stdout.")
@click.option("-f", "--force", is_flag=True, help="Overwrite OUT.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="By default what the name of OUT ends in.")
@click.option(
    "--prometheus",
    "where",
    is_flag=False,
    flag_value=DEFAULT,
    metavar="[ADDRESS:PORT]",
    callback=address,
    help=f"Serve metrics over HTTP instead, live, at /metrics and /healthz.  [default: {DEFAULT}]",
)
@click.option(
    "--most",
    type=click.IntRange(0, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="With --prometheus: mappings with series of their own; the rest is summed.",
)
@click.option(
    "--simulate",
    "scenario",
    is_flag=False,
    flag_value="steady",
    metavar="[SCENARIO]",
    help="With --prometheus: the simulator instead of this machine.  [default scenario: steady]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="With --simulate: the seed of the scenario.")
@live_options
@check_option
@click.pass_context
def export(
    ctx: click.Context,
    /,
    where: tuple[str, int] | None,
    file: str | None,
    frame: str | None,
    list_: bool,
    output: str | None,
    force: bool,
    form: str | None,
    options: LiveOptions,
    **live: Any,
) -> None:
    """Write a frame of the recording FILE as CSV or Parquet; or, with --prometheus, observe this machine and serve
    metrics. The options that ask for a live observation (from --most on) go with --prometheus.

    \b
    Examples:
      binder-observe export --list
      binder-observe export trace.arrows lifetimes -o lives.parquet
      binder-observe export trace.arrows senders | column -s, -t
      sudo binder-observe export --prometheus
    """
    if where is not None:
        if file is not None:
            raise click.UsageError("FILE is a recording, --prometheus serves what happens now: leave one out")
        _refuse(ctx, ("list_", "output", "force", "form"), "goes with FILE and FRAME, not with --prometheus")
        serve(where, options=options, **live)
    else:
        names = {*live, *(field.name for field in fields(LiveOptions))} - {"quiet"}
        _refuse(ctx, tuple(names), "goes with --prometheus")
        _export_frame(file, frame, list_, output, force, form, options.quiet)


def _refuse(ctx: click.Context, names: tuple[str, ...], why: str) -> None:
    """UsageError when one of these options was given."""
    for param in ctx.command.params:
        given = ctx.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE
        if param.name in names and given:
            raise click.UsageError(f"{param.opts[-1]} {why}")


def _export_frame(
    file: str | None, frame: str | None, list_: bool, output: str | None, force: bool, form: str | None, quiet: bool
) -> None:
    if list_:
        for name, make in _frames().items():
            click.echo(f"{name:<24} {(make.__doc__ or '').strip().splitlines()[0]}")
        return
    if file is None or frame is None:
        raise click.UsageError("which FILE and which FRAME? `binder-observe export --list` names the frames")
    if form is None and output is not None:
        form = next((f for f in FORMATS if output.endswith(f".{f}")), None)
        if form is None:
            raise click.UsageError(f"{output} ends in neither .csv nor .parquet: say --format")
    if form == "parquet" and output is None:
        raise click.UsageError("Parquet is not for a terminal: say -o OUT")

    from binder_observe.commands.reading import read_history
    from binder_observe.files import check_absent, write_private

    known = _frames()
    if frame not in known:
        raise click.UsageError(f"there is no frame {frame!r}: {', '.join(known)}")
    check_absent(output, force)
    history = read_history(file, quiet=quiet)
    table = known[frame](history)
    if not quiet:
        for note in history.report.notes:
            click.echo(f"note: {note}", err=True)
    if output is None:
        click.echo(table.to_csv(index=False), nl=False)
    else:
        write_private(output, _bytes(table, form or "csv"), force=force)


def _frames() -> dict[str, Callable[[History], pd.DataFrame]]:
    """Every `df_*` that is made of a history, by its name without the `df_`."""
    from binder_observe import frames

    found = {name.removeprefix("df_"): getattr(frames, name) for name in frames.__all__ if name.startswith("df_")}
    return {name: make for name, make in found.items() if next(iter(signature(make).parameters)) == "h"}


def _bytes(table: pd.DataFrame, form: str) -> bytes:
    if form == "csv":
        return table.to_csv(index=False).encode()
    data: bytes | None = table.to_parquet(index=False)
    if data is None:
        raise ObserveError("pandas wrote no Parquet")
    return data

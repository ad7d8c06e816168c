"""`binder-observe compare A B`: what differs in B from A, with confidence."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from binder_observe.comparison.thresholds import Threshold

CROSSED = 4


def _thresholds(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[Threshold, ...]:
    if not values:
        return ()
    from binder_observe.comparison.thresholds import parse

    try:
        return tuple(parse(value) for value in values)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command("compare")
@click.argument("a", metavar="A", required=False)
@click.argument("b", metavar="B", required=False)
@click.option("-n", "--name", metavar="COMM", help="Only processes of this name.")
@click.option(
    "--fail-if",
    "thresholds",
    multiple=True,
    callback=_thresholds,
    metavar="EXPR",
    help="Exit with status 4 when crossed: METRIC>+10% and METRIC<-5% are changes of B against A, METRIC>0 "
    "(without sign and %) is the value in B; >= and <= work, too; repeatable.",
)
@click.option("-l", "--list-metrics", is_flag=True, help="Name the metrics with their units, and leave.")
@click.option("-j", "--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
@click.option("--html", metavar="OUT", help="Write the comparison to OUT, too: one page that works offline.")
@click.option("-f", "--force", is_flag=True, help="Overwrite OUT.")
@click.option("-v", "--verbose", is_flag=True, help="Every difference, not just those that stand out.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors and crossed thresholds.")
@click.pass_context
def compare(
    ctx: click.Context, a: str | None, b: str | None, name: str | None, thresholds: tuple[Threshold, ...],
    list_metrics: bool, as_json: bool, html: str | None, force: bool, verbose: bool, quiet: bool,
) -> None:  # fmt: skip
    """Compare two recordings: what differs in B from A, how sure that is, the most important first.

    \b
    Examples:
      binder-observe compare before.arrows after.arrows
      binder-observe compare a.arrows b.arrows --html differences.html
      binder-observe compare a.arrows b.arrows -q --fail-if 'installs>+10%' --fail-if 'lost_events>0'

    Exit status 0: done; 4: a threshold is crossed, by a difference that is significant or has no test.
    """
    if list_metrics:
        _list_metrics()
        return
    if a is None or b is None:
        raise click.UsageError("which recordings A and B?")

    from binder_observe.commands.reading import read_history, working
    from binder_observe.comparison import compare_histories
    from binder_observe.files import check_absent, write_private
    from binder_observe.reports.comparison import as_json as json_writer
    from binder_observe.reports.comparison import terminal, words

    check_absent(html, force)
    histories = read_history(a, quiet=quiet), read_history(b, quiet=quiet)
    with working("comparing", quiet=quiet):
        comparison = compare_histories(*histories, labels=(a, b), name=name)
    comparison = comparison.with_checks(tuple(threshold.check(comparison) for threshold in thresholds))
    if html is not None:
        from binder_observe.reports.comparison.html import render

        page = render(comparison)
        write_private(html, page, force=force)
        if not quiet:
            click.echo(f"{html}: {len(page.encode()) / 1e6:.1f} MB, open it in a browser", err=True)
    if as_json:
        json_writer.write(comparison, sys.stdout)
    elif html is None:
        terminal.write(comparison, sys.stdout, everything=verbose)
    for check in comparison.checks:
        if check.outcome == "crossed" or not quiet:
            sentence = words.check(check, comparison.overall(check.metric))
            click.echo(f"{'FAIL ' if check.outcome == 'crossed' else ''}{sentence}", err=True)
    ctx.exit(CROSSED if any(check.outcome == "crossed" for check in comparison.checks) else 0)


def _list_metrics() -> None:
    from binder_observe.comparison.metrics import METRICS

    for metric in METRICS:
        click.echo(f"{metric.name:<22} {metric.unit or 'share':<7} {metric.meaning}")

"""`binder-observe report FILE...`: the page-lifetime report of a recording."""

from __future__ import annotations

import click


@click.command("report")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("-j", "--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--html", metavar="OUT", help="Write the report with its pictures to OUT: one page that works offline.")
@click.option("-f", "--force", is_flag=True, help="Overwrite OUT.")
@click.option(
    "--until",
    type=click.IntRange(min=1),
    metavar="NS",
    help="The state at this time (CLOCK_BOOTTIME, ns) instead of the recording's end.",
)
@click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors.")
def report(
    files: tuple[str, ...], as_json: bool, html: str | None, force: bool, until: int | None, quiet: bool
) -> None:
    """Report from a recording: who held how many pages, and how long each lived.

    A recording that was cut short is read as far as it goes, and the report says so. The pieces of a rotated one are
    read as one: name them in any order, or what was given to `record -o`.

    \b
    Examples:
      binder-observe report trace.arrows
      binder-observe report trace.arrows --json | jq .findings
      binder-observe report trace.arrows --html report.html
      binder-observe report trace.0001.arrows trace.0002.arrows
    """
    from binder_observe.analysis.summary import summarize
    from binder_observe.commands.live import write_report
    from binder_observe.commands.reading import progress, working
    from binder_observe.files import check_absent, write_private
    from binder_observe.observation import Observation
    from binder_observe.sources.recording import RecordingSource
    from binder_observe.sources.until import Until

    check_absent(html, force)
    recording = RecordingSource(*files)
    try:
        source = Until(recording, until) if until else recording
        batches = progress(source.batches(), lambda: recording.fraction, "reading", quiet=quiet)
        if html is None:
            observation = Observation(source.meta)
            for batch in batches:
                observation.feed(batch)
            write_report(summarize(observation, recording.notes), as_json)
            return
        from binder_observe.history import collect
        from binder_observe.reports.html import render

        history = collect(source.meta, batches, lambda: recording.notes)
    finally:
        recording.close()
    with working("drawing", quiet=quiet):
        page = render(history)
    write_private(html, page, force=force)
    if as_json:
        write_report(history.report, as_json)
    if not quiet:
        click.echo(f"{html}: {len(page.encode()) / 1e6:.1f} MB, open it in a browser", err=True)

"""`binder-observe report FILE`: the page-lifetime report of a recording."""

from __future__ import annotations

import click


@click.command("report")
@click.argument("file", metavar="FILE")
@click.option("-j", "--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--until",
    type=click.IntRange(min=1),
    metavar="NS",
    help="The state at this time (CLOCK_BOOTTIME, ns) instead of the recording's end.",
)
def report(file: str, as_json: bool, until: int | None) -> None:  # fmt: skip
    """Report from a recording: who held how many pages, and how long each lived.

    A recording that was cut short is read as far as it goes, and the report says so.
    """
    from binder_observe.analysis.summary import summarize
    from binder_observe.commands.live import write_report
    from binder_observe.observation import Observation
    from binder_observe.sources.recording import RecordingSource
    from binder_observe.sources.until import Until

    recording = RecordingSource(file)
    try:
        source = Until(recording, until) if until else recording
        observation = Observation(source.meta)
        for batch in source.batches():
            observation.feed(batch)
        notes = (recording.note,) if recording.note else ()
        write_report(summarize(observation, notes), as_json)
    finally:
        recording.close()

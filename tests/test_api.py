"""`import binder_observe as bo`."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import pandas as pd
import pytest

import binder_observe as bo
from binder_observe.analysis.summary import summarize
from binder_observe.errors import ObserveError
from binder_observe.events import Kind
from binder_observe.observation import Observation
from binder_observe.recording import RecordingWriter
from binder_observe.reports import notebook
from tests.build import META, attach, batch, install, mapped, row


def test_a_simulation_can_be_read_again() -> None:
    run = bo.simulate("steady", seed=5, duration_s=0.2, kernel="6.8", page_size=16384)
    assert run.meta.generation == "6.8"
    assert run.meta.page_size == 16384
    first, second = (b"".join(batch.ts_ns.tobytes() for batch in run.batches()) for _ in range(2))
    assert first == second
    assert run.report().to_dict() == run.report().to_dict()


def test_a_file_reports_as_what_it_was_made_from(tmp_path: Path) -> None:
    run = bo.simulate("steady", duration_s=0.2)
    with RecordingWriter(tmp_path / "r.arrows", run.meta) as writer:
        for batch in run.batches():
            writer.write(batch)
    assert bo.open(tmp_path / "r.arrows").report().to_dict() == run.report().to_dict()


@pytest.mark.slow
def test_a_report_in_every_form(tmp_path: Path) -> None:
    report = bo.simulate("racing-installers", duration_s=0.1).report()
    assert json.loads(report.to_json()) == json.loads(json.dumps(report.to_dict()))
    assert str(report).startswith("SIMULATED")
    piece = report._repr_html_()
    assert "SIMULATED" in piece
    for finding in report.data.findings:
        assert escape(finding.text) in piece
    assert piece.count("<tr>") == 1 + len(report.data.processes)
    path = tmp_path / "r.html"
    assert path.exists() is False
    page = report.to_html(path)
    assert path.read_text() == page
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ObserveError, match="exists"):
        report.to_html(path)


def test_a_report_is_the_same_with_and_without_a_history() -> None:
    run = bo.simulate("steady", duration_s=0.1)
    streamed = run.report().to_dict()
    assert len(run.history.lives)
    assert run.report().to_dict() == streamed


def test_names_in_a_notebook_are_text() -> None:
    observation = Observation(META)
    observation.feed(batch(attach(), row(0, Kind.PROCESS, alloc=0, task=100, name="<script>"), mapped(), install(1)))
    piece = notebook.render(summarize(observation))
    assert "<script>" not in piece
    assert "&lt;script&gt;" in piece


def test_events_are_a_frame() -> None:
    run = bo.simulate("steady", duration_s=0.05)
    frame = run.events()
    rows = [row for one in run.batches() for row in one.rows()]
    assert list(frame["ts_ns"]) == [r[0] for r in rows]
    assert list(frame["kind"]) == [r[1].name.lower() for r in rows]
    assert [None if pd.isna(name) else name for name in frame["name"]] == [r[7] for r in rows]


def test_everything_is_at_hand() -> None:
    for name in ("open", "simulate", "compare", "df_leaks", "plot_leaks", "page_map", "window"):
        assert callable(getattr(bo, name))
        assert name in dir(bo)


def test_comparison_of_recordings() -> None:
    run = bo.simulate("steady", duration_s=0.2)
    assert bo.compare(run, run.history).to_dict() == bo.compare(run, run).to_dict()


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(ObserveError):
        bo.open(tmp_path / "none")
    with pytest.raises(ObserveError, match="no-such"):
        bo.simulate("no-such")
    with pytest.raises(AttributeError):
        bo.nonsense  # noqa: B018

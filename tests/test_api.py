"""`import binder_observe as bo`."""

from __future__ import annotations

from pathlib import Path

import pytest

import binder_observe as bo
from binder_observe.errors import ObserveError
from binder_observe.recording import RecordingWriter


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


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(ObserveError):
        bo.open(tmp_path / "none")
    with pytest.raises(ObserveError, match="no-such"):
        bo.simulate("no-such")
    with pytest.raises(AttributeError):
        bo.nonsense  # noqa: B018

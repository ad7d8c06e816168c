"""The recording as a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from binder_observe.errors import ObserveError
from binder_observe.events import Kind, from_rows
from binder_observe.recording import RecordingWriter
from binder_observe.sources import Meta, Source
from binder_observe.sources.recording import RecordingSource

META = Meta(source="simulated", kernel="6.1", generation="6.1", page_size=4096, tool_version="0.1.0")
ATTACH = (1, Kind.ATTACH, 0, 0, 0, 0, 0, None)
MMAP = (2, Kind.MMAP, 1, 254, 0, 41, 41, "binder")
INSTALL = (3, Kind.ALLOC_PAGE_END, 1, 0, 0, 42, 43, None)
DETACH = (4, Kind.DETACH, 0, 0, 0, 0, 0, None)


def record(path: Path, *batches: list[tuple[int, int, int, int, int, int, int, str | None]]) -> Path:
    with RecordingWriter(path, META) as writer:
        for rows in batches:
            writer.write(from_rows(rows))
            writer.flush()
    return path


def test_replays_what_was_recorded(tmp_path: Path) -> None:
    source: Source = RecordingSource(record(tmp_path / "r", [ATTACH, MMAP], [INSTALL], [DETACH]))
    assert source.meta == META
    assert [row for batch in source.batches() for row in batch.rows()] == [ATTACH, MMAP, INSTALL, DETACH]
    assert isinstance(source, RecordingSource)
    assert source.note is None
    source.close()


def test_stop_ends_it(tmp_path: Path) -> None:
    source = RecordingSource(record(tmp_path / "r", [ATTACH, MMAP], [INSTALL], [DETACH]))
    batches = source.batches()
    next(batches)
    source.stop()
    assert list(batches) == []
    assert source.note is None


def test_without_detach_it_ended_abruptly(tmp_path: Path) -> None:
    source = RecordingSource(record(tmp_path / "r", [ATTACH, MMAP], [INSTALL]))
    assert len(list(source.batches())) == 2
    assert source.note == f"{tmp_path / 'r'} has no DETACH event: the observation ended abruptly"


def test_truncated(tmp_path: Path) -> None:
    path = record(tmp_path / "r", [ATTACH, MMAP], [INSTALL], [DETACH])
    path.write_bytes(path.read_bytes()[:-20])
    source = RecordingSource(path)
    assert [int(batch.kind[0]) for batch in source.batches()] == [Kind.ATTACH, Kind.ALLOC_PAGE_END]
    assert source.note is not None
    assert "no end mark" in source.note
    assert "3 events in 2 complete batches" in source.note


def test_not_a_recording(tmp_path: Path) -> None:
    with pytest.raises(ObserveError, match="is a directory"):
        RecordingSource(tmp_path)

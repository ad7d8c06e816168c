"""Which files are read as one recording, and how they are read."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from binder_observe.api import open_recording, simulate
from binder_observe.errors import ObserveError
from binder_observe.events import concat
from binder_observe.recording import RecordingWriter
from binder_observe.sources.recording import RecordingSource
from tests.build import META, attach, batch, install, mapped, park
from tests.pieces import between, record, rows


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["a.0001", "b.0002"], r"a\.0001 and .*b\.0002 are pieces of different recordings"),
        (["a.0002", "a.0001", "copy"], r"a\.0002 and .*copy are the same piece, number 2"),
        (["a.0001", "a.0001"], "are the same piece, number 1"),
        (["a.0001", "whole"], "whole is a recording of its own: only the pieces of one are read together"),
        (["whole", "whole"], "is a recording of its own"),
        (["a.0001", "text"], "text is not a binder-observe recording"),
        (["a.0001", "none"], "cannot open .*none"),
        (["."], "is a directory"),
    ],
)
def test_what_does_not_belong_together(tmp_path: Path, paths: list[str], why: str) -> None:
    for name in ("a", "b"):
        record(tmp_path / name, [batch(attach(), mapped(), install(1)), batch(park(9))])
    shutil.copy(tmp_path / "a.0002", tmp_path / "copy")
    with RecordingWriter(tmp_path / "whole", META) as writer:
        writer.write(batch(attach()))
    (tmp_path / "text").write_text("text")
    with pytest.raises(ObserveError, match=why):
        open_recording([tmp_path / path for path in paths])


def test_a_piece_that_changes_meanwhile(tmp_path: Path) -> None:
    paths = record(tmp_path / "r", [batch(attach(), mapped(), install(1)), batch(park(9))])
    other = record(tmp_path / "other", [batch(attach(), mapped(), install(1)), batch(park(9))])
    source = RecordingSource(*paths)
    shutil.copy(other[1], paths[1])
    with pytest.raises(ObserveError, match="was replaced while it was read"):
        list(source.batches())


@pytest.mark.parametrize(
    "given",
    [
        lambda folder: folder,
        lambda folder: folder / "r.arrows",
        lambda folder: folder / "r.0*.arrows",
        lambda folder: sorted(folder.glob("r.*"), reverse=True),
        lambda folder: str(folder / "r.????.arrows"),
    ],
)
def test_ways_to_name_them(tmp_path: Path, given: Callable[[Path], Any]) -> None:
    paths = record(tmp_path / "r.arrows", [batch(attach(), mapped(), install(1)), batch(park(9))])
    assert list(rows(*paths).rows()) == [r for b in open_recording(given(tmp_path)).batches() for r in b.rows()]
    with pytest.raises(ObserveError, match="no path"):
        open_recording([])


def test_how_far_reading_is(tmp_path: Path) -> None:
    run = simulate("steady", duration_s=0.2)
    whole = concat(run.batches())
    source = RecordingSource(*record(tmp_path / "r", between(whole, [len(whole) // 3, len(whole) // 2]), run.meta))
    seen = [source.fraction for _ in source.batches()]
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1]
    assert source.fraction == 1
    assert len(list(source.batches())) == len(seen)  # and once more


def test_more_pieces_than_a_process_may_open(tmp_path: Path) -> None:
    paths = record(tmp_path / "r", [batch(attach(), mapped(40)), *(batch(install(10 * n, n)) for n in range(40))])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 10, before[1]))
        assert rows(*paths).kernel_events == 80
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_stop_ends_it(tmp_path: Path) -> None:
    source = RecordingSource(*record(tmp_path / "r", [batch(attach(), mapped(), install(1)), batch(park(9))]))
    batches = source.batches()
    next(batches)
    source.stop()
    assert list(batches) == []
    assert source.notes == ()

"""Recordings in pieces: what is on disk, at every moment, and what is said when it cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from binder_observe.errors import ObserveError
from binder_observe.events import GOES_ON, EventBatch, Kind, concat
from binder_observe.observation import Observation
from binder_observe.recording import RecordingReader, RecordingWriter
from binder_observe.recording.pieces import piece_path, pieces_of
from binder_observe.rotation import PieceWriter, Rotation, check_no_pieces
from tests.build import META, attach, batch, install, mapped, park, row
from tests.pieces import Cutter, own_rows, record, rows

END = batch(row(1_000_000, Kind.DETACH, alloc=0))


def parts(n: int) -> list[EventBatch]:
    """Each has two events of one page or another; descriptions are in the first, the end is in the last."""
    first = batch(attach(), row(0, Kind.PROCESS, alloc=0, task=100, name="server"), mapped(200))
    *others, last = [concat([first, batch(install(5))]), *(batch(install(10 * i, i)) for i in range(1, n))]
    return [*others, concat([last, END])]


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_each_piece_is_a_recording_with_its_beginning_and_its_end(tmp_path: Path) -> None:
    found = record(tmp_path / "r.arrows", parts(3))
    assert names(tmp_path) == ["r.0001.arrows", "r.0002.arrows", "r.0003.arrows"]
    runs = set()
    for n, path in enumerate(found, 1):
        assert Path(path).stat().st_mode & 0o777 == 0o600
        with RecordingReader(path) as reader:
            whole = concat(reader.batches())
            assert not reader.truncated
            piece = reader.meta.piece
        assert piece is not None
        assert (piece.index, piece.before) == (n, 2 * (n - 1))
        runs.add(piece.run)
        kinds = whole.kind.tolist()
        assert kinds[0] == Kind.ATTACH
        assert kinds[-1] == Kind.DETACH
        assert whole.page[-1] == (GOES_ON if n < 3 else 0)
        assert "server" in whole.names.values()
        assert {Kind.ALLOC, Kind.MMAP} & set(kinds)
        assert own_rows(path).kernel_events == whole.kernel_events == 2
    assert len(runs) == 1


def test_a_piece_alone_knows_every_page(tmp_path: Path) -> None:
    *_, last, _ = record(tmp_path / "r.arrows", [*parts(3)[:2], batch(install(20, 2), park(500, 1)), END])
    observed = Observation(META)
    observed.feed(rows(last))
    (alloc,) = observed.tracker.allocs()
    assert (alloc.active, alloc.lru, alloc.free, alloc.unknown) == (2, 1, 197, 0)
    assert (alloc.comm, alloc.context, alloc.high_watermark) == ("server", "binder", 3)
    assert (alloc.installs, alloc.parks) == (1, 1)


def test_a_size_ends_a_piece(tmp_path: Path) -> None:
    size = 20_000
    observed = Observation(META)
    with PieceWriter(tmp_path / "r", META, Rotation(size_bytes=size), flush_interval_s=0) as writer:
        for part in parts(150):
            writer.write(part)
            observed.feed(part)
            writer.turn(observed)
    found = pieces_of(str(tmp_path / "r"))
    assert len(found) > 3
    sizes = [os.path.getsize(path) for path in found]
    # the batch that fills it, the DETACH and the end mark go beyond
    assert all(size <= found < 1.5 * size for found in sizes[:-1])
    assert sizes[-1] < size
    assert rows(*found).kernel_events == 300


def test_openings_never_fill_the_larger_part(tmp_path: Path) -> None:
    observed = Observation(META)
    with PieceWriter(tmp_path / "r", META, Rotation(size_bytes=1), flush_interval_s=0) as writer:
        for part in parts(150):
            writer.write(part)
            observed.feed(part)
            writer.turn(observed)
    for path in pieces_of(str(tmp_path / "r"))[:-1]:
        with RecordingReader(path) as reader:
            piece, (opening, *_) = reader.meta.piece, reader.batches()
        assert piece is not None
        if piece.index > 1:
            assert piece.opening == len(opening)
            assert os.path.getsize(path) > 2 * opening.ts_ns.nbytes


def test_a_time_ends_a_piece_in_which_something_happened(tmp_path: Path) -> None:
    cutter = Cutter(tmp_path / "r")
    with cutter.writer:
        cutter.write(batch(attach(), mapped()))
        for _ in range(5):
            cutter.cut()
            cutter.write(batch())
        assert names(tmp_path) == ["r.0001"]
        cutter.write(batch(install(1)))
        cutter.writer.turn(cutter.observed)
        assert names(tmp_path) == ["r.0001", "r.0002"]


def test_only_the_newest_stay(tmp_path: Path) -> None:
    (tmp_path / "r.0001.other").write_text("precious")
    record(tmp_path / "r.arrows", parts(7), keep=3)
    assert names(tmp_path) == ["r.0001.other", "r.0005.arrows", "r.0006.arrows", "r.0007.arrows"]


def test_nothing_is_overwritten_unless_told(tmp_path: Path) -> None:
    old = record(tmp_path / "r.arrows", parts(4))
    for path in (old[0], old[1]):
        os.unlink(path)  # as --keep does
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    with pytest.raises(ObserveError, match=r"r\.0003\.arrows already exists; -f overwrites it"):
        record(tmp_path / "r.arrows", parts(2))
    with pytest.raises(ObserveError, match="already exists"):
        check_no_pieces(str(tmp_path / "r.arrows"), force=False)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
    record(tmp_path / "r.arrows", parts(2), force=True)
    assert names(tmp_path) == ["r.0001.arrows", "r.0002.arrows"]  # none of the other run's are left among them
    assert rows(*map(str, tmp_path.iterdir())).kernel_events == 4


def test_what_is_no_piece_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "r.0005").mkdir()
    with pytest.raises(ObserveError, match="is a directory"):
        record(tmp_path / "r", parts(2), force=True)
    (tmp_path / "text.2024").write_text("precious")
    with RecordingWriter(tmp_path / "whole.2024", META) as writer:
        writer.write(batch(attach()))
    for name, why in (("text", "is not a binder-observe recording"), ("whole", "whole.2024 is called like a piece")):
        with pytest.raises(ObserveError, match=why):
            record(tmp_path / name, parts(2), force=True)
    assert names(tmp_path) == ["r.0005", "text.2024", "whole.2024"]
    with pytest.raises(ObserveError, match="standard output"):
        PieceWriter("-", META, Rotation(time_s=1))
    with pytest.raises(ObserveError, match="folder does not exist"):
        check_no_pieces(str(tmp_path / "none" / "r"), force=False)


@pytest.mark.parametrize("name", ["trace.arrows", "trace", "a.b.arrows", ".hidden", "odd[1]*.x"])
def test_names(tmp_path: Path, name: str) -> None:
    for index in (10_000, 3, 1, 9_999):
        Path(piece_path(str(tmp_path / name), index)).touch()
    (tmp_path / f"{name}.001").touch()
    (tmp_path / f"other.{name}.0001").touch()
    assert pieces_of(str(tmp_path / name)) == [piece_path(str(tmp_path / name), n) for n in (1, 3, 9_999, 10_000)]

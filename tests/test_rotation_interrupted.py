"""A rotation that is interrupted: nothing that was flushed is lost, and what went wrong is said."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from binder_observe import files
from binder_observe.errors import ObserveError
from binder_observe.events import GOES_ON, Kind, concat
from binder_observe.recording.pieces import pieces_of
from binder_observe.sources.recording import RecordingSource
from tests.build import batch, install
from tests.pieces import Cutter, rows
from tests.test_rotation import parts

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("where", ["there is no room", "the name is taken"])
def test_a_piece_that_cannot_begin(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    all_parts = parts(4)
    cutter = Cutter(tmp_path / "r")

    def go_on() -> None:
        with cutter.writer:
            for n, part in enumerate(all_parts):
                cutter.write(part)
                if n == 2:
                    if where == "the name is taken":
                        (tmp_path / "r.0004").write_text("precious")
                    else:
                        monkeypatch.setattr("binder_observe.recording.writer.write_all", full)
                cutter.cut()

    def full(fd: int, data: bytes) -> None:
        if len(cutter_files()) > 3 and os.path.samestat(os.fstat(fd), os.stat(cutter_files()[-1])):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        files.write_all(fd, data)

    def cutter_files() -> list[str]:
        return pieces_of(str(tmp_path / "r"))

    with pytest.raises(ObserveError) as raised:
        go_on()
    why = "No space left on device" if where == "there is no room" else "File exists"
    assert str(raised.value).startswith(f"cannot go on in {tmp_path}/r.0004: {why}")
    assert "everything recorded until then is saved" in str(raised.value)
    assert (tmp_path / "r.0004").exists() == (where == "the name is taken")
    whole = [str(tmp_path / f"r.000{n}") for n in (1, 2, 3)]
    assert list(rows(*whole).rows()) == list(concat(all_parts[:3]).rows())


def test_a_full_disk_within_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cutter = Cutter(tmp_path / "r")

    def full(fd: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def go_on() -> None:
        with cutter.writer:
            for part in parts(2):
                cutter.write(part)
                cutter.cut()
            monkeypatch.setattr("binder_observe.recording.writer.write_all", full)
            cutter.now += 5
            cutter.write(batch(install(90, 9)))

    with pytest.raises(ObserveError, match=r"cannot write to .*r\.0003: No space .*; the pieces before it are whole"):
        go_on()
    assert rows(*pieces_of(str(tmp_path / "r"))).kernel_events == 4


def test_nothing_is_lost_between_any_two_system_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill leaves is what is on disk at that moment: a copy of it is taken before and after each change."""
    folder, copies = tmp_path / "now", tmp_path / "copies"
    folder.mkdir()
    moments: list[tuple[Path, int]] = []  # what was there, and how many events of it had been flushed by then
    flushed = [0]

    def look() -> None:
        copy = copies / str(len(moments))
        shutil.copytree(folder, copy)
        moments.append((copy, flushed[0]))

    def watched(module: object, name: str) -> None:
        real = getattr(module, name)

        def call(*args: object) -> object:
            look()
            done = real(*args)
            look()
            return done

        monkeypatch.setattr(module, name, call)

    import binder_observe.recording.writer as writing

    watched(writing, "write_all")
    watched(files, "write_all")
    watched(os, "unlink")
    watched(os, "close")
    cutter = Cutter(folder / "r", keep=3)
    all_parts = parts(6)
    for n, part in enumerate(all_parts):
        if n:
            cutter.cut()
            flushed[0] = 2 * n
        cutter.write(part)
    cutter.writer.close()
    monkeypatch.undo()

    expected = concat(all_parts)
    assert len(moments) > 50
    for copy, least in moments:
        found = [path for path in pieces_of(str(copy / "r")) if os.path.getsize(path)]
        if not found:
            assert least == 0
            continue
        source = RecordingSource(*found)
        read = concat(source.batches())
        begins = source._files[0].meta.piece
        assert begins is not None
        assert read.lost_events == 0, (source.notes, least)
        assert begins.before + read.kernel_events >= least
        assert len(found) <= 4
        own = read.slice(begins.opening, len(read))
        ends = [i for i, r in enumerate(own.rows()) if r[1] == Kind.DETACH and r[3] == GOES_ON]
        assert ends in ([], [len(own) - 1])  # the next piece is there from then on
        # what was read is a stretch of what happened, row for row, wherever the seams were
        events = [r for r in own.rows() if r[1] <= Kind.RELEASE_END]
        all_events = [r for r in expected.rows() if r[1] <= Kind.RELEASE_END]
        assert events == all_events[begins.before : begins.before + len(events)]


def test_sigkill_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from binder_observe.observation import Observation
        from binder_observe.rotation import PieceWriter, Rotation
        from tests.build import META, attach, batch, install, mapped
        observed = Observation(META)
        writer = PieceWriter({str(tmp_path / "r")!r}, META, Rotation(size_bytes=8192), flush_interval_s=0)
        part, done = batch(attach(), mapped(1000)), 0
        while True:
            writer.write(part)
            observed.feed(part)
            print(done, flush=True)
            writer.turn(observed)
            part = batch(*(install(5 * done + 10 * i, (done // 2 + i) % 1000) for i in range(100)))
            done += 200
    """)
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = 0
    while len(pieces_of(str(tmp_path / "r"))) < 20:
        said = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split("\n")
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    said = max([said, *(int(line) for line in rest[:-1])])
    source = RecordingSource(tmp_path / "r")
    whole = concat(source.batches())
    assert whole.kernel_events >= said
    assert whole.lost_events == 0
    events = [r[:4] for r in whole.rows() if r[1] <= Kind.RELEASE_END]
    assert events == [r[:4] for i in range(len(events) // 2) for r in batch(install(10 * i, i % 1000)).rows()]
    assert source.note is not None
    assert "has no end mark" in source.note

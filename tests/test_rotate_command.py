"""`record --rotate` and `report A B C` on the command line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from binder_observe.cli import run
from binder_observe.commands.options import _rotate
from binder_observe.recording.pieces import pieces_of
from binder_observe.rotation import Rotation
from binder_observe.sources.simulator import SimulatorSource

pytestmark = pytest.mark.slow

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def simulated(capsys: Captured, *options: str) -> Any:
    arguments = ["--simulate", "steady", "-d", "3", "-q", "-j", "-o", "t.arrows", *options]
    assert run(arguments) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def reported(capsys: Captured, *arguments: str) -> Any:
    assert run(["report", *arguments, "-j"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("text", "rotation"),
    [
        ("64M", Rotation(size_bytes=64 << 20)), ("1G", Rotation(size_bytes=1 << 30)), ("9K", Rotation(size_bytes=9216)),
        ("64MB", Rotation(size_bytes=64 << 20)), ("64MiB", Rotation(size_bytes=64 << 20)),
        ("10m", Rotation(time_s=600)), ("600s", Rotation(time_s=600)), ("1h", Rotation(time_s=3600)),
    ],
)  # fmt: skip
def test_a_size_or_a_time(text: str, rotation: Rotation) -> None:
    assert _rotate(None, None, text) == rotation  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "64", "0M", "0s", "m", "-1M", "1.5h", "64m5", "10 minutes", "1T", "64Mb", "1mB"])
def test_neither(text: str, here: Path, capsys: Captured) -> None:
    assert run(["--simulate", "-o", "t", f"--rotate={text}"]) == 2
    assert "is neither a size (64M, 1G) nor a time (600s, 10m, 1h)" in capsys.readouterr().err
    assert not any(here.iterdir())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["-o", "t", "--keep", "3"], "--keep goes with --rotate"),
        (["--rotate", "1M"], "--rotate goes with -o"),
        (["-o", "t", "--rotate", "1M", "--keep", "1"], "1 is not in the range x>=2"),
    ],
)
def test_usage(options: list[str], why: str, capsys: Captured) -> None:
    assert run(["--simulate", *options]) == 2
    assert why in capsys.readouterr().err


def test_pieces_on_the_command_line(here: Path, capsys: Captured) -> None:
    live = simulated(capsys, "--rotate", "64K")
    files = pieces_of("t.arrows")
    assert len(files) >= 3
    assert not Path("t.arrows").exists()
    assert reported(capsys, *files[::-1]) == live
    assert reported(capsys, "t.arrows") == live
    assert reported(capsys, ".") == live
    assert reported(capsys, files[0])["events"] < live["events"]

    assert run(["export", "t.arrows", "processes"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(live["processes"])
    assert run(["compare", "t.arrows", "t.*.arrows", "-j"]) == 0
    capsys.readouterr()

    assert run(["--simulate", "-q", "-o", "t.arrows", "--rotate", "1G"]) == 1
    assert "t.0001.arrows already exists; -f overwrites it" in capsys.readouterr().err
    simulated(capsys, "--rotate", "1G", "-f")
    assert pieces_of("t.arrows") == files[:1]


def test_the_first_pieces_are_gone(here: Path, capsys: Captured) -> None:
    live = simulated(capsys, "--rotate", "64K", "--keep", "2")
    assert len(pieces_of("t.arrows")) == 2
    report = reported(capsys, "t.arrows")
    (note,) = report["notes"]
    assert note.startswith("the recording begins with its piece ")
    assert f": {live['events'] - report['events']} events before it are not there" in note


@pytest.mark.slow
def test_a_page_from_pieces(here: Path, capsys: Captured) -> None:
    simulated(capsys, "--rotate", "64K")
    assert run(["report", *pieces_of("t.arrows"), "--html", "t.html", "-q"]) == 0
    shutil.move("t.html", "pieces.html")
    simulated(capsys)
    assert run(["report", "t.arrows", "--html", "t.html", "-q"]) == 0
    assert Path("t.html").read_text() == Path("pieces.html").read_text()


def test_pieces_that_do_not_belong_together(here: Path, capsys: Captured) -> None:
    simulated(capsys, "--rotate", "64K")
    shutil.copy("t.0001.arrows", "other.arrows")
    assert run(["report", "t.0001.arrows", "t.0002.arrows", "other.arrows"]) == 1
    assert capsys.readouterr().err == ("binder-observe: t.0001.arrows and other.arrows are the same piece, number 1\n")
    assert run(["report"]) == 2


def test_record(here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("binder_observe.commands.live.ebpf_source", lambda *_: SimulatorSource("steady", duration_s=3))
    monkeypatch.setattr("binder_observe.commands.checking.kernel_counts", lambda *_: None)
    monkeypatch.setattr("binder_observe.commands.live.tracing", lambda *_: "Tracing.")
    assert run(["record", "-o", "t.arrows", "--rotate", "64K"]) == 0
    said = capsys.readouterr().err.splitlines()[-1]
    files = pieces_of("t.arrows")
    events = reported(capsys, "t.arrows")["events"]
    assert said == f"{events} events in {files[0]} to {files[-1]}, 0 lost"
    assert run(["record", "-o", "t.arrows", "--rotate", "64K"]) == 1
    assert "already exists" in capsys.readouterr().err
    os.mkdir("one")
    assert run(["record", "-o", "one/t", "--rotate", "1G"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"{events} events in one/t.0001, 0 lost"

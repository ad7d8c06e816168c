"""`binder-observe export`: what is written is the frame."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

import binder_observe as bo
from binder_observe.cli import cli
from binder_observe.commands.export import _frames
from binder_observe.errors import ObserveError
from binder_observe.recording import RecordingWriter


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "r.arrows"
    run = bo.simulate("racing-installers", duration_s=0.05)
    with RecordingWriter(path, run.meta) as writer:
        for batch in run.batches():
            writer.write(batch)
    return path


def export(*arguments: str) -> str:
    return CliRunner().invoke(cli, ["export", *arguments], catch_exceptions=False, standalone_mode=False).stdout


def test_every_frame_of_a_history_has_a_line(recording: Path) -> None:
    lines = export("--list").splitlines()
    assert [line.split()[0] for line in lines] == list(_frames())
    assert all(len(line.split(maxsplit=1)[1]) > 10 for line in lines)


@pytest.mark.parametrize("name", _frames())
def test_parquet_is_the_frame(name: str, recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    export(str(recording), name, "-o", str(path))
    expected = _frames()[name](bo.open(recording).history)
    pd.testing.assert_frame_equal(pd.read_parquet(path), expected, check_categorical=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["lifetimes", "senders"])
def test_csv_has_every_row_and_value(name: str, recording: Path, tmp_path: Path) -> None:
    text = export(str(recording), name)
    expected = _frames()[name](bo.open(recording).history)
    read = pd.read_csv(io.StringIO(text), float_precision="round_trip")
    assert list(read.columns) == list(expected.columns)
    assert len(read) == len(expected) > 0
    for column in expected.select_dtypes("number"):
        assert read[column].fillna(-1).tolist() == expected[column].astype("Float64").fillna(-1).tolist()
    export(str(recording), name, "-o", str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text() == text


def test_mistakes_are_sentences(recording: Path, tmp_path: Path) -> None:
    for arguments, words in (
        ([], "which FILE"),
        ([str(recording), "nonsense"], "lifetimes"),
        ([str(recording), "lifetimes", "-o", "x.xls"], "--format"),
        ([str(recording), "lifetimes", "--format", "parquet"], "-o OUT"),
    ):
        result = CliRunner().invoke(cli, ["export", *arguments])
        assert result.exit_code == 2
        assert words in result.output
    taken = tmp_path / "taken.csv"
    taken.write_text("mine")
    with pytest.raises(ObserveError, match="-f"):
        export(str(recording), "lifetimes", "-o", str(taken))
    with pytest.raises(ObserveError, match="folder"):
        export(str(recording), "lifetimes", "-o", str(tmp_path / "no" / "where.csv"))
    assert taken.read_text() == "mine"
    export(str(recording), "lifetimes", "-o", str(taken), "-f")
    assert taken.read_text().startswith("pid,comm")

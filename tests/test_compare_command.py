"""`compare` on the command line: thresholds, exit statuses, files."""

from __future__ import annotations

import json
from pathlib import Path

import click
import jsonschema
import pytest
from click.testing import CliRunner, Result

import binder_observe as bo
from binder_observe.commands.compare import compare
from binder_observe.comparison import Comparison, compare_histories
from binder_observe.comparison.metrics import METRICS
from binder_observe.comparison.thresholds import parse
from binder_observe.errors import ObserveError
from binder_observe.events import Kind
from binder_observe.recording import RecordingWriter
from binder_observe.reports.comparison import as_json
from tests.build import META, attach, batch, row


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a and b differ in duplicate installs, and in little else."""
    path = tmp_path_factory.mktemp("compare")
    for name, seed, kernel in (("a", 0, "6.1"), ("b", 1, "6.14")):
        run = bo.simulate("racing-installers", seed=seed, duration_s=0.15, kernel=kernel)  # type: ignore[arg-type]
        with RecordingWriter(path / name, run.meta) as writer:
            for events in run.batches():
                writer.write(events)
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(compare, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def comparison(folder: Path) -> Comparison:
    return compare_histories(*(bo.open(folder / name).history for name in "ab"), name="server")


def test_text_by_default(folder: Path) -> None:
    done = call(folder / "a", folder / "b")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("SIMULATED binder pages: B against A")
    assert "* duplicate_installs" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    more = call(folder / "a", folder / "b", "-v", "-n", "server").stdout
    assert len(more.splitlines()) > 2 * len(done.stdout.splitlines())


def test_json(folder: Path) -> None:
    done = call(
        folder / "a",
        folder / "b",
        "-n",
        "server",
        "-j",
        "--fail-if",
        "duplicate_installs>+10%",
        "--fail-if",
        "installs>1",
    )
    assert done.exit_code == 4
    found = json.loads(done.stdout)
    jsonschema.validate(found, as_json.schema())
    assert [t["outcome"] for t in found["thresholds"]] == ["crossed", "crossed"]
    assert [t["value"] is None for t in found["thresholds"]] == [True, False]  # new: no percentage says how much
    assert "FAIL duplicate_installs>+10%: crossed" in done.stderr


def test_html_goes_to_a_private_file_that_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "c.html"
    files = (folder / "a", folder / "b", "-n", "server")
    done = call(*files, "--html", page)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert page.stat().st_mode & 0o777 == 0o600
    assert "duplicate_installs" in page.read_text()
    page.write_text("precious")
    refused = call(*files, "--html", page)
    assert isinstance(refused.exception, ObserveError)
    assert "-f" in str(refused.exception)
    assert page.read_text() == "precious"
    assert call(*files, "--html", page, "-f", "-q").stderr == ""
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("expression", "outcome"),
    [
        ("duplicate_installs>+10%", "crossed"),
        ("duplicate_installs>=+10%", "crossed"),
        ("duplicate_share>0.01", "crossed"),
        ("duplicate_share>0.9", "kept"),
        ("installs<-50%", "kept"),
        ("lost_events>0", "kept"),
        ("lost_events<=0", "crossed"),
        ("lost_events<0", "kept"),
        ("failed_installs>+1%", "kept"),
        ("metadata_bytes<-5%", "crossed"),  # no test exists: the numbers alone count
        ("metadata_bytes>+5%", "kept"),
        ("  metadata_bytes  <=  -5 % ", "crossed"),
    ],
)
def test_thresholds(comparison: Comparison, expression: str, outcome: str) -> None:
    assert parse(expression).check(comparison).outcome == outcome


def test_a_change_within_the_noise_is_told_and_does_not_count(folder: Path, comparison: Comparison) -> None:
    noisy = next(d for d in comparison.differences if d.comm is None and d.verdict == "noise" and not d.tiny)
    assert noisy.ratio is not None
    expression = f"{noisy.metric.name}{'>+' if noisy.ratio > 1 else '<-'}0.1%"
    assert parse(expression).check(comparison).outcome == "noise"
    files = (folder / "a", folder / "b", "-n", "server")
    done = call(*files, "--fail-if", expression)
    assert done.exit_code == 0
    assert "within the noise" in done.stderr
    both = call(*files, "-q", "--fail-if", expression, "--fail-if", "installs>0")
    assert both.exit_code == 4
    assert both.stderr.startswith("FAIL installs>0: crossed (installs ")


@pytest.mark.parametrize("expression", ["lifetime_p50>+5%", "lifetime_p50>5", "failed_share<-1%"])
def test_what_is_unknown_has_not_been_kept(tmp_path: Path, expression: str) -> None:
    with RecordingWriter(tmp_path / "nothing", META) as writer:
        writer.write(batch(attach(), row(1000, Kind.DETACH, alloc=0)))
    done = call(tmp_path / "nothing", tmp_path / "nothing", "--fail-if", expression)
    assert isinstance(done.exception, ObserveError)
    assert done.exception.exit_status == 1
    assert "is unknown in" in str(done.exception)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("nonsense", "is no threshold"), ("", "is no threshold"), ("installs", "is no threshold"),
        ("installs=5", "is no threshold"), ("installs>+x%", "is no threshold"), ("installs>1>2", "is no threshold"),
        ("speed>+10%", "no metric 'speed'"), ("installs>+10", "sign and %"), ("installs>10%", "sign and %"),
        ("installs>-5%", "no change at all"), ("installs<+5%", "no change at all"), ("installs>-5", "sign and %"),
    ],
)  # fmt: skip
def test_a_wrong_threshold_is_wrong_usage(expression: str, words: str) -> None:
    done = call("no", "files", "--fail-if", expression)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())


def test_wrong_usage() -> None:
    assert call("one").exit_code == 2
    assert call("one", "two", "three").exit_code == 2
    assert call("one", "two", "--nonsense").exit_code == 2


def test_files_that_are_no_recordings(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for other in (tmp_path / "none", tmp_path / "text", tmp_path):
        for files in ((folder / "a", other), (other, folder / "a")):
            done = call(*files)
            assert isinstance(done.exception, ObserveError)
            assert str(other) in str(done.exception)


def test_a_damaged_file_is_compared_as_far_as_it_goes(folder: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    whole = (folder / "b").read_bytes()
    cut.write_bytes(whole[: len(whole) - 100])
    found = json.loads(call(folder / "a", cut, "-j", "-n", "server").stdout)
    assert found["b"]["notes"]
    assert not found["b"]["complete"]
    assert any("B ended abruptly" in warning for warning in found["warnings"])


def test_only_one_name(folder: Path, comparison: Comparison) -> None:
    assert {d.comm for d in comparison.differences} == {None, "server"}
    missing = call(folder / "a", folder / "b", "-n", "nobody")
    assert isinstance(missing.exception, ObserveError)


def test_the_metrics_are_listed() -> None:
    done = call("--list-metrics")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [m.name for m in METRICS]
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_every_option_has_help() -> None:
    shown = call("--help").stdout
    for param in compare.params:
        if isinstance(param, click.Option):
            assert param.help
            assert all(option in shown for option in param.opts)


def test_a_threshold_is_what_was_written() -> None:
    threshold = parse(" idle_share <= -2.5% ")
    assert (threshold.metric, threshold.op, threshold.number, threshold.relative) == ("idle_share", "<=", -2.5, True)
    assert parse("lifetime_p50>1e9").number == 1e9
    assert not parse("lost_events>0").relative

"""The command line: help, errors, exit statuses; nothing but sentences reaches the user."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import jsonschema
import numpy as np
import pytest

from binder_observe import __version__
from binder_observe.cli import COMMANDS, cli
from binder_observe.events import concat
from binder_observe.reports import report_schema
from binder_observe.sources.recording import RecordingSource

PROGRAM = [sys.executable, "-m", "binder_observe"]
QUICK = ["simulate", "steady", "-d", "0.2", "-q"]


def run(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=120, **more)  # type: ignore[call-overload,no-any-return]


def assert_one_sentence(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 4  # usage errors repeat the usage
    for word in words:
        assert word in done.stderr


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "steady.arrows"
    done = run(*QUICK, "-o", str(path), "--seed", "3")
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_every_command_and_option_has_help(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 100
    params = cli.params if not command else cli.get_command(None, command[0]).params  # type: ignore[arg-type,union-attr]
    for param in params:
        if isinstance(param, click.Option):
            assert param.help, param.name
            assert all(option in done.stdout for option in param.opts)


def test_version() -> None:
    assert run("-V").stdout == f"binder-observe, version {__version__}\n"


def test_simulated_report_is_the_json_contract() -> None:
    done = run(*QUICK, "--json")
    report = json.loads(done.stdout)
    jsonschema.validate(report, report_schema())
    assert report["source"] == "simulated"
    assert report["events"] > 0
    assert done.stderr == ""


def test_report_of_a_recording_equals_the_live_one(recording: Path) -> None:
    live = json.loads(run(*QUICK, "--json", "--seed", "3").stdout)
    assert json.loads(run("report", str(recording), "--json").stdout) == live


@pytest.mark.slow
def test_until_shows_an_earlier_state(recording: Path) -> None:
    whole = json.loads(run("report", str(recording), "-j").stdout)
    middle = int(np.median(concat(RecordingSource(recording).batches()).ts_ns))
    early = json.loads(run("report", str(recording), "-j", "--until", str(middle)).stdout)
    assert 0 < early["events"] < whole["events"]
    assert early["duration_s"] < whole["duration_s"]


def test_a_truncated_recording_is_reported_as_far_as_it_goes(recording: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.arrows"
    cut.write_bytes(recording.read_bytes()[:-100])
    done = run("report", str(cut), "-j")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert not report["complete"]
    assert report["notes"]


@pytest.mark.slow
def test_a_page_for_the_browser(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    done = run("report", str(recording), "--html", str(path))
    assert done.returncode == 0
    assert done.stdout == ""
    assert str(path) in done.stderr
    assert path.read_text().startswith("<!doctype html>")
    assert path.stat().st_mode & 0o777 == 0o600
    assert_one_sentence(run("report", str(recording), "--html", str(path)), 1, "-f")
    both = run("report", str(recording), "--html", str(path), "-f", "-j", "-q")
    assert both.stderr == ""
    assert json.loads(both.stdout) == json.loads(run("report", str(recording), "-j").stdout)


@pytest.mark.slow
def test_a_bar_while_a_recording_is_read(recording: Path, tmp_path: Path) -> None:
    """On a terminal alone: stderr is a pseudo-terminal here."""
    ours, theirs = pty.openpty()
    with (
        (tmp_path / "out.json").open("w") as out,
        subprocess.Popen([*PROGRAM, "report", str(recording), "-j"], stdout=out, stderr=theirs) as process,
    ):
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # EIO: the other side has closed
            while piece := os.read(ours, 4096):
                seen += piece
    os.close(ours)
    assert process.returncode == 0
    assert json.loads((tmp_path / "out.json").read_text())["events"] > 0
    assert b"reading" in seen


def test_a_request_list_runs_on_the_model(tmp_path: Path) -> None:
    path = tmp_path / "two.requests"
    path.write_text("open server binder\nopen client binder\ncall client binder data=5000 reply=10 as a\nfree a\n")
    report = json.loads(run("simulate", str(path), "-j", "--kernel", "6.1").stdout)
    assert {p["comm"]: p["installs"] for p in report["processes"]} == {"server": 2, "client": 1}
    path.write_text("open server binder\ncall nobody binder data=1 reply=1 as a\n")
    assert_one_sentence(run("simulate", str(path)), 1, ":2:", "nobody")


def test_recordings_are_private(recording: Path) -> None:
    assert recording.stat().st_mode & 0o777 == 0o600


def test_overwriting_needs_force(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.arrows"
    path.write_text("precious")
    assert_one_sentence(run(*QUICK, "-o", str(path)), 1, "-f")
    assert path.read_text() == "precious"
    assert run(*QUICK, "-o", str(path), "-f").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], ["--nonsense"]),
        (["nonsense"], ["nonsense"]),
        (["-p", "x"], ["-p", "x"]),
        (["-p", "0"], ["0"]),
        (["-d", "-1"], ["-1"]),
        (["--buffer-size", "many"], ["many"]),
        (["--simulate", "-p", "1"], ["--pid", "--simulate"]),
        (["--simulate", "-n", "x", "--context", "binder"], ["--name and --context ask", "--simulate"]),
        (["--simulate", "--wait"], ["--wait", "--simulate"]),
        (["--wait"], ["--wait for whom"]),
        (["record", "-o", "x", "--wait"], ["--wait for whom"]),
        (["--name", ""], ["--name", "empty"]),
        (["--simulate", "--check", "1"], ["--check", "--simulate"]),
        (["--seed", "7", "-p", "1"], ["--seed"]),
        (["-p", "1", "report", "x"], ["after the command"]),
        (["report"], ["FILE"]),
        (["record"], ["-o"]),
        (["simulate"], ["SCENARIO", "--list"]),
        (["simulate", "steady", "--kernel", "5"], ["--kernel"]),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2(arguments: list[str], words: list[str]) -> None:
    assert_one_sentence(run(*arguments), 2, *words)


def test_failures_are_status_1(tmp_path: Path) -> None:
    assert_one_sentence(run("report", str(tmp_path / "none")), 1, "none")
    assert_one_sentence(run("report", str(tmp_path)), 1, str(tmp_path))
    (tmp_path / "text").write_text("hello")
    assert_one_sentence(run("report", str(tmp_path / "text")), 1, "text")
    assert_one_sentence(run("simulate", "no-such-scenario"), 1, "no-such-scenario")
    assert_one_sentence(run(*QUICK, "-o", str(tmp_path / "no" / "where")), 1, "where")


def test_a_full_disk_is_a_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*PROGRAM, *QUICK], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert_one_sentence(done, 1, "No space left")


def test_a_reader_that_leaves_is_no_traceback() -> None:
    done = subprocess.run(
        f"{sys.executable} -m binder_observe {' '.join(QUICK)} | true",
        shell=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stderr == ""


@pytest.mark.skipif(Path("/sys/module/binder_linux").exists(), reason="this machine has binder")
class TestWithoutBinder:
    """A question about a real pid is never answered with simulated data."""

    def test_a_pid_is_status_3(self) -> None:
        done = run("-p", str(os.getpid()))
        assert_one_sentence(done, 3)
        assert done.stdout == ""

    @pytest.mark.parametrize("arguments", [["-n", "server"], ["--context", "binder"], ["-n", "server", "--wait"]])
    def test_a_name_is_status_3(self, arguments: list[str]) -> None:
        done = run(*arguments)
        assert_one_sentence(done, 3)
        assert done.stdout == ""

    def test_record_is_status_3(self, tmp_path: Path) -> None:
        assert_one_sentence(run("record", "-o", str(tmp_path / "x")), 3)
        assert not (tmp_path / "x").exists()

    def test_doctor_is_status_3(self) -> None:
        done = run("doctor", "--json")
        assert done.returncode == 3
        assert json.loads(done.stdout)["ok"] is False

    def test_the_plain_command_simulates_and_says_so(self) -> None:
        done = run("-d", "0.2")
        assert done.returncode == 0
        assert "SIMULATED" in done.stderr
        assert done.stdout.startswith("SIMULATED")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_in_order_with_a_report(number: int, tmp_path: Path) -> None:
    path = tmp_path / "r.arrows"
    with subprocess.Popen(
        [*PROGRAM, "--simulate", "--realtime", "-d", "600", "-j", "-o", str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert "Simulating" in process.stderr.readline()
        while path.stat().st_size < 4000:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    report = json.loads(out)
    assert report["complete"]
    assert json.loads(run("report", str(path), "-j").stdout)["events"] == report["events"]

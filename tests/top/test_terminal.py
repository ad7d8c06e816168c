"""The real thing in a real terminal: tmux."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from binder_observe.sources.recording import RecordingSource

pytestmark = pytest.mark.slow
LIMIT_S = 120
TOP = [sys.executable, "-m", "binder_observe", "top"]


@pytest.fixture(autouse=True, scope="module")
def _needs_tmux() -> None:
    if shutil.which("tmux") is None:
        reason = "there is no tmux (make test-slow installs it)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


class Terminal:
    """A shell in tmux, 80x24."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._runs = 0
        self.folder = folder
        environment = {k: v for k, v in os.environ.items() if k not in ("TMUX", "TERM", "NO_COLOR")}
        self._environment = {**environment, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PS1": "$ "}
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "sh")

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-u", "-S", str(self.folder / self._name), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=self._environment, timeout=60)
        return done.stdout

    def run(self, *arguments: str) -> None:
        self._runs += 1
        self.keys(f"cd {Path.cwd()}; {shlex.join([*TOP, *arguments])}; echo status{self._runs}=$?", "Enter")

    def keys(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def wait(self, true: Callable[[str], object]) -> str:
        end = time.monotonic() + LIMIT_S
        while not true(seen := self.screen()):
            assert time.monotonic() < end, "it never came to be\n" + seen
            time.sleep(0.05)
        return seen

    def end(self) -> tuple[int, str]:
        """The exit status of what was run last, and the screen then."""
        done = re.compile(rf"^status{self._runs}=(\d+)", re.M)
        seen = self.wait(done.search)
        return int(done.findall(seen)[-1]), seen

    def process(self) -> int:
        """The program that runs in the shell."""
        shell = self.tmux("display", "-p", "#{pane_pid}").strip()
        (child,) = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        return int(child)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal("tmux", tmp_path)
    yield made
    subprocess.run(["tmux", "-S", str(tmp_path / "tmux"), "kill-server"], capture_output=True, check=False)


def restored(terminal: Terminal) -> None:
    """The shell has its screen, its line editing and its cursor back."""
    assert terminal.tmux("display", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}").split() == ["0", "1", "0"]
    terminal.keys("stty -a", "Enter")
    settings = terminal.wait(lambda seen: "echoke" in seen)
    assert re.search(r" icanon\b", settings)
    assert re.search(r" echo\b", settings)


def test_it_starts_sorts_ends_plays_back_and_gives_the_terminal_back(terminal: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "whole.arrows"
    terminal.run("--simulate", "steady", "-i", "0.2", "-o", str(path))
    seen = terminal.wait(lambda seen: "system_server" in seen and "Quit" in seen)
    assert "SIMULATED" in seen
    assert "source simulated; kernel simulated" in seen
    assert len(seen.splitlines()) == 24
    terminal.keys("Right")
    terminal.wait(lambda seen: "▲PID" in seen)
    terminal.keys("r")
    seen = terminal.wait(lambda seen: "▼PID" in seen)
    pids = [int(found[1]) for line in seen.splitlines() if (found := re.match(r"[▸ ] *(\d+) \S+ +(?:hw)?binder", line))]
    assert len(pids) > 3
    assert pids == sorted(pids, reverse=True)
    os.kill(terminal.process(), signal.SIGTERM)
    status, seen = terminal.end()
    assert status == 0
    assert "source simulated; kernel simulated" in seen
    assert "saved" in seen
    restored(terminal)
    assert_complete(path)

    terminal.keys("clear", "Enter")
    terminal.run(str(path), "--speed", "0.5")
    terminal.wait(lambda seen: "0.5x" in seen and "SIMULATED" in seen)
    terminal.keys("e")
    terminal.wait(lambda seen: re.search(r"\bEND\b", seen))
    terminal.keys("q")
    assert terminal.end()[0] == 0
    restored(terminal)

    terminal.keys("clear", "Enter")
    terminal.run(str(tmp_path / "missing"))
    status, seen = terminal.end()
    assert status == 1
    assert "Traceback" not in seen


def test_a_line_that_drops_ends_it_in_order(terminal: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "whole.arrows"
    terminal.run("--simulate", "page-leak", "-i", "0.2", "-o", str(path))
    terminal.wait(lambda seen: "leaky.service" in seen)
    process = Path(f"/proc/{terminal.process()}")
    terminal.tmux("kill-server")
    end = time.monotonic() + LIMIT_S
    while process.exists():
        assert time.monotonic() < end, "it goes on without a terminal"
        time.sleep(0.05)
    assert_complete(path)


def assert_complete(path: Path) -> None:
    """It has its DETACH and its end mark."""
    source = RecordingSource(path)
    assert sum(part.kernel_events for part in source.batches()) > 0
    assert source.note is None


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--simulate"], 1, "needs a terminal"),
        (["x.arrows", "--simulate"], 2, "leave one out"),
        (["x.arrows", "-p", "1"], 2, "--pid asks for this machine's kernel, FILE for none"),
        (["--simulate", "steady", "--latency"], 2, "--latency"),
        (["--speed", "2"], 2, "--speed"),
        (["--seed", "2"], 2, "--seed"),
        (["x.arrows", "-o", "y"], 2, "--output"),
        (["x.arrows", "--speed", "0"], 2, "0"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_wrong_usage(arguments: list[str], status: int, words: str) -> None:
    done = subprocess.run([*TOP, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr

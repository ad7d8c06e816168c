"""Runs in a guest: whole command lines, each in a process of its own, on probes that are compiled only once."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NoReturn
from unittest import mock

import pyte

from binder_observe import cli
from binder_observe.sources import probes
from binder_observe.sources.bcc_loader import load_bcc
from binder_observe.sources.ebpf import EbpfSource
from tests.kernels.attach import TABLES

LIMIT_S: Final = 300.0  # a guest may have to share its processor with others
_COLUMNS, _LINES = 80, 24


class Compiled:
    """Stands for `bcc.BPF`: an object that is made once, before the first fork, with empty tables for each child.

    A child that wants other programs compiles its own.
    """

    def __init__(self) -> None:
        bcc = load_bcc()
        self.RAW_TRACEPOINT = bcc.BPF.RAW_TRACEPOINT
        self._make = bcc.BPF
        self._made: Any = None
        self._of: object = None
        mock.patch.object(probes, "load_bcc", return_value=SimpleNamespace(BPF=self)).start()
        with mock.patch.object(probes.Probes, "attach", side_effect=InterruptedError), suppress(InterruptedError):
            EbpfSource()
        del vars(self._made)["cleanup"]  # a child may, and must

    def __call__(self, text: str, cflags: list[str]) -> Any:
        if self._made is None:
            self._made, self._of = self._make(text=text, cflags=cflags), (text, cflags)
            self._made.cleanup = lambda: None
        return self._made if self._of == (text, cflags) else self._make(text=text, cflags=cflags)

    def empty(self) -> None:
        for name in TABLES:
            self._made[name].clear()


class Observer:
    """One command line; NAME.out and NAME.err are in `results`, and NAME.status when it has ended (-N: by signal N).

    Args:
        prepare: is called in the new process, before the command.
        terminal: it gets an 80x24 one, and NAME.err is empty.
    """

    def __init__(
        self,
        results: Path,
        name: str,
        *arguments: str,
        prepare: Callable[[], object] = lambda: None,
        terminal: bool = False,
    ) -> None:
        self.name = name
        self.status: int | None = None
        self._status_file = results / f"{name}.status"
        self._err = results / f"{name}.err"
        self._screen = pyte.Screen(_COLUMNS, _LINES)
        self._stream = pyte.ByteStream(self._screen)
        sys.stdout.flush()
        with (results / f"{name}.out").open("w") as out, self._err.open("w") as err:
            self.pid, self._master = pty.fork() if terminal else (os.fork(), -1)
            if self.pid == 0:
                os.dup2(out.fileno(), 1)
                if terminal:
                    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, _COLUMNS, 0, 0))
                else:
                    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                    os.dup2(err.fileno(), 2)
                _run(arguments, prepare)

    def until(self, true: Callable[[], object]) -> bool:
        """Whether it came to be before the observer ended, or LIMIT_S passed."""
        end = time.monotonic() + LIMIT_S
        while not true():
            if self.status is not None or time.monotonic() > end:
                return False
            self._look()
        return True

    def ready(self) -> bool:
        return self.until(lambda: "Hit Ctrl-C" in self._err.read_text())

    @property
    def said(self) -> str:
        return self._err.read_text()

    @property
    def screen(self) -> str:
        return "\n".join(self._screen.display) + "\n"

    def press(self, key: str) -> None:
        os.write(self._master, key.encode())

    def hang_up(self) -> None:
        """Takes the terminal away."""
        os.close(self._master)
        self._master = -1

    def wait(self) -> None:
        """Until it has ended; one that does not end in time has no status."""
        self.until(lambda: False)
        if self.status is None:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)

    def _look(self) -> None:
        if self._master < 0:
            time.sleep(0.1)
        elif select.select([self._master], [], [], 0.1)[0]:
            with suppress(OSError):  # nobody has the other side open any more
                self._stream.feed(os.read(self._master, 1 << 16))
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.status = os.waitstatus_to_exitcode(status)
            self._status_file.write_text(str(self.status))


def _run(arguments: tuple[str, ...], prepare: Callable[[], object]) -> NoReturn:
    """As the console script does it, without the frames and the cleanups of the process that was forked."""
    status = 1
    try:
        os.environ["TERM"] = "xterm-256color"
        prepare()
        sys.argv = ["binder-observe", *arguments]
        status = cli.run(list(arguments))
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
        os._exit(status)


class Kernel:
    """What BPF programs and kprobes there are."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._before = self._look()

    def leftovers(self, name: str) -> None:
        """Writes down what is there that was not; the kernel may take a moment to let go of programs."""
        end = time.monotonic() + 10
        while (left := self._left()) and time.monotonic() < end:
            time.sleep(0.1)
        (self._results / f"{name}.left").write_text("".join(f"{what}\n" for what in left))

    def _left(self) -> list[str]:
        return sorted(self._look() - self._before)

    def _look(self) -> set[str]:
        shown = subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, check=True)
        found = [(p["id"], p.get("name", "")) for p in json.loads(shown.stdout)]
        # systemd leaves its own on cgroups.
        programs = {f"program {number} {name}" for number, name in found if not name.startswith("sd_")}
        kprobes = Path("/sys/kernel/debug/kprobes/list").read_text().splitlines()
        return programs | {f"kprobe {' '.join(line.split()[1:])}" for line in kprobes}


class List:
    """A list of requests that is being executed, with a place to stop at."""

    def __init__(self, program: str, text: str, results: Path) -> None:
        self.results = results
        path = results.with_suffix(".requests")
        path.write_text(text)
        self._process = subprocess.Popen([program, str(path), str(results)], stdin=subprocess.DEVNULL)

    def is_at(self, place: str) -> bool:
        if self._process.poll() is not None:
            sys.exit(f"{self.results}: the workload ended with status {self._process.returncode}")
        return (self.results / place).exists()

    def go_on(self, place: str) -> None:
        (self.results / place).touch()

    def wait(self) -> None:
        self._process.wait()

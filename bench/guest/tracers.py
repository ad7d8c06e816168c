"""Our collector and what people would use instead: how each is started, known to be tracing, and ended."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.guest.flood import TRACEPOINTS
from bench.guest.processes import tree_cpu_s

OURS: Final = "binder-observe record"
COUNTING: Final = "bpftrace, counting"
PRINTING: Final = "bpftrace, printing"
TRACE_CMD: Final = "trace-cmd record"
PERF: Final = "perf record"

_BANNER: Final = "Hit Ctrl-C"
_POLL_S: Final = 0.02
_PATIENCE_S: Final = 300.0
# A peer runs this command once it is tracing, and ends when it does.
_COMMAND: Final = ": >ready; read end <leave"


@dataclass(frozen=True)
class Tracer:
    """`command` is run in a directory of its own, where it leaves `output`; with `peer`, it takes a command to run."""

    name: str
    command: Callable[[], list[str]]
    output: str
    peer: bool = True


def _record() -> list[str]:
    return ["binder-observe", "record", "-o", "output"]


def _bpftrace(script: str) -> list[str]:
    # output in whole buffers, not line by line: the cheaper way
    return ["bpftrace", "-B", "full", "-o", "output", "-e", script, "-c", "/bin/sh command"]


def _count() -> list[str]:
    probes = ",".join(f"tracepoint:binder:{name}" for name in TRACEPOINTS)
    return _bpftrace(f"{probes} {{ @ = count(); }}")


def _print() -> list[str]:
    """The same columns as in a recording."""
    return _bpftrace(
        " ".join(
            f'tracepoint:binder:{name} {{ printf("%llu {kind} %d %d %d %d %d\\n",'
            " nsecs, args->proc, args->page_index, cpu, pid, tid); }"
            for kind, name in enumerate(TRACEPOINTS)
        )
    )


def _trace_cmd() -> list[str]:
    events = [word for name in TRACEPOINTS for word in ("-e", f"binder:{name}")]
    return ["trace-cmd", "record", *events, "-o", "output", "/bin/sh", "command"]


def _perf() -> list[str]:
    events = ",".join(f"binder:{name}" for name in TRACEPOINTS)
    return ["perf", "record", "-a", "-e", events, "-o", "output", "--", "/bin/sh", "command"]


TRACERS: Final = (
    Tracer(OURS, _record, "output", peer=False),
    Tracer(COUNTING, _count, "output"),
    Tracer(PRINTING, _print, "output"),
    Tracer(TRACE_CMD, _trace_cmd, "output"),
    Tracer(PERF, _perf, "output"),
)


class Running:
    """A tracer from `with`, once it is tracing, to `end()`.

    `attach_s` is the time from exec until it was tracing, `attach_cpu_s` the processor time of that.
    """

    def __init__(self, tracer: Tracer, directory: Path) -> None:
        self._tracer, self._directory = tracer, directory
        directory.mkdir()
        if tracer.peer:
            (directory / "command").write_text(_COMMAND)
            os.mkfifo(directory / "leave")
        begin = time.monotonic()
        with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as err:
            self._process = subprocess.Popen(
                tracer.command(), cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        self._until(self._is_tracing)
        self.attach_s = time.monotonic() - begin
        self.attach_cpu_s = tree_cpu_s(self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> float:
        """Ends it in order; returns its processor seconds since it was tracing, its children's included."""
        if self._tracer.peer:
            (self._directory / "leave").write_text("\n")
        else:
            self._process.send_signal(signal.SIGINT)
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._process.returncode:
            raise RuntimeError(self._said(f"ended with status {self._process.returncode}"))
        return usage.ru_utime + usage.ru_stime - self.attach_cpu_s

    @property
    def output(self) -> Path:
        return self._directory / self._tracer.output

    def _is_tracing(self) -> bool:
        if self._tracer.peer:
            return (self._directory / "ready").exists()
        return _BANNER in (self._directory / "stderr").read_text(errors="replace")

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            if self._process.poll() is not None:
                raise RuntimeError(self._said(f"ended with status {self._process.returncode}"))
            if time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError(self._said("does not trace"))
            time.sleep(_POLL_S)

    def _said(self, what: str) -> str:
        said = "".join((self._directory / name).read_text(errors="replace") for name in ("stdout", "stderr"))
        return f"{shlex.join(self._tracer.command())} {what}: {said[-2000:]}"

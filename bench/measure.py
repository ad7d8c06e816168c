"""Runs what is measured in fresh processes, in turn, and asks the kernel what each took.

Times are processor time (user and system, all threads): on a machine that others use as well it says more than the
clock on the wall. Tools take turns round by round, so that a change of the machine's speed meets all of them.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
WORK: Final = ROOT / "build" / "bench"


@dataclass(frozen=True, slots=True)
class Run:
    """What one process took, from its start to its end, and what it printed."""

    cpu_s: float
    wall_s: float
    peak_bytes: int
    output: str

    @property
    def figures(self) -> dict[str, Any]:
        """What a function returned that ran as a `child`."""
        found: dict[str, Any] = json.loads(self.output)
        return found


def command(words: list[str], env: Mapping[str, str] | None = None, cores: int | None = None) -> Run:
    """Runs a command to its end, on that many cores. Raises CalledProcessError when it fails.

    This process must stay small, and leaves imports to `bench.inside`: Linux counts what the parent held at the fork
    in the child's peak.
    """
    affinity = sorted(os.sched_getaffinity(0))[:cores]
    begin = time.perf_counter()
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=ROOT, env={**os.environ, **(env or {})},
    )  # fmt: skip
    os.sched_setaffinity(process.pid, affinity)
    assert process.stdout
    with process.stdout:
        output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words, output)
    return Run(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024, output)


def child(function: str, *args: Any, env: Mapping[str, str] | None = None, cores: int = 1) -> Run:
    """Runs `function`, "module.name" in `bench.inside`, in a process of its own on that many cores.

    Its arguments and the figures that it returns are JSON.
    """
    module, _, name = f"bench.inside.{function}".rpartition(".")
    return command([sys.executable, "-m", "bench.measure", module, name, json.dumps(args)], env, cores)


def in_turn(rounds: int, tools: Mapping[str, Callable[[], Run]]) -> dict[str, list[Run]]:
    """Every tool once a round."""
    found: dict[str, list[Run]] = {name: [] for name in tools}
    for number in range(rounds):
        for name, run in tools.items():
            print(f"  round {number + 1} of {rounds}: {name}", end="", file=sys.stderr, flush=True)
            found[name].append(run())
            print(f", {found[name][-1].cpu_s:.1f} s of CPU", file=sys.stderr)
    return found


@dataclass(slots=True)
class Timed:
    cpu_s: float = field(default=0.0)
    wall_s: float = field(default=0.0)


@contextmanager
def timed() -> Iterator[Timed]:
    """What the block takes, all threads of this process together."""
    found = Timed()
    wall, cpu = time.perf_counter(), time.process_time()
    yield found
    found.cpu_s, found.wall_s = time.process_time() - cpu, time.perf_counter() - wall


def peak_bytes() -> int:
    """The most memory that this process has held so far (VmHWM of proc(5))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError("the kernel does not say what a process has held")


if __name__ == "__main__":
    print(json.dumps(getattr(importlib.import_module(sys.argv[1]), sys.argv[2])(*json.loads(sys.argv[3]))))

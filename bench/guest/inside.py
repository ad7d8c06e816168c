"""`python -m bench.guest.inside RESULTS WORKLOAD`: runs in the guest; each run's figures are a line of runs.jsonl."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.guest import ring
from bench.guest.flood import Flood, counting
from bench.guest.parsing import programs
from bench.guest.tracers import COUNTING, OURS, TRACERS, Running, Tracer

# Outputs go to memory: a disk that is emulated is no part of what is compared (and perf cannot write to 9p).
_SCRATCH: Final = Path("/run")
_STATS: Final = Path("/proc/sys/kernel/bpf_stats_enabled")
UNTRACED: Final = "untraced"


class Bench:
    """Where runs leave their figures, and how large a flood is."""

    def __init__(self, results: Path, program: Path, count: int) -> None:
        self._results, self._program, self._count = results, program, count
        self._number = 0

    def idle(self, tracer: Tracer) -> None:
        """Started and ended: what a tracer takes that has nothing to trace."""
        with tempfile.TemporaryDirectory(dir=_SCRATCH) as scratch:
            running = Running(tracer, Path(scratch, "tracer"))
            cpu_s = running.end()
            self._keep("idle", tracer.name, running, cpu_s=cpu_s)

    def timed(self, tracer: Tracer | None, times: int = 2) -> None:
        """Floods with nothing else there, for what they take."""
        with tempfile.TemporaryDirectory(dir=_SCRATCH) as scratch:
            running = Running(tracer, Path(scratch, "tracer")) if tracer else None
            for i in range(times):
                with Flood(self._program, Path(scratch, f"flood{i}"), self._count) as flood:
                    self._write("timed", tracer.name if tracer else UNTRACED, flood=asdict(flood.run()))
            if running:
                running.end()
                self._keep("attached", tracer.name if tracer else "", running)

    def counted(self, tracer: Tracer, kind: str = "counted", factor: int = 1) -> None:
        """A flood that ftrace counts, too: how much of it was kept, and what that took."""
        with tempfile.TemporaryDirectory(dir=_SCRATCH) as scratch:
            running = Running(tracer, Path(scratch, "tracer"))
            with counting() as counts, Flood(self._program, Path(scratch, "flood"), factor * self._count) as flood:
                flooded = flood.run()
            cpu_s = running.end()
            self._keep(kind, tracer.name, running, cpu_s=cpu_s, counts=counts, flood=asdict(flooded))

    def with_bpf_stats(self, tracer: Tracer) -> None:
        """A flood with the kernel's clock running around each BPF program."""
        _STATS.write_text("1")
        before = {program.number for program in _programs()}
        with tempfile.TemporaryDirectory(dir=_SCRATCH) as scratch:
            running = Running(tracer, Path(scratch, "tracer"))
            with counting() as counts, Flood(self._program, Path(scratch, "flood"), self._count) as flood:
                flood.run()
            ran = [asdict(program) for program in _programs() if program.number not in before]
            running.end()
            self._keep("stats", tracer.name, running, counts=counts, programs=ran)
        _STATS.write_text("0")

    def _keep(self, kind: str, tracer: str, running: Running, **more: Any) -> None:
        kept = ""
        size = running.output.stat().st_size if running.output.exists() else 0
        if "counts" in more:
            self._number += 1
            kept = f"output{self._number}"
            shutil.copy(running.output, self._results / kept)
        stderr = (running.output.parent / "stderr").read_text(errors="replace")
        self._write(
            kind, tracer, attach_s=running.attach_s, attach_cpu_s=running.attach_cpu_s, bytes=size, output=kept,
            stderr=stderr[-2000:], **more,
        )  # fmt: skip

    def _write(self, kind: str, tracer: str, **figures: Any) -> None:
        line = json.dumps({"kind": kind, "tracer": tracer, **figures})
        with (self._results / "runs.jsonl").open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)


def _programs() -> list[Any]:
    done = subprocess.run(["bpftool", "--json", "prog", "show"], capture_output=True, text=True, check=True)
    return list(programs(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("program", type=Path)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--count", type=int, required=True, help="transactions of each of the flood's threads")
    arguments = parser.parse_args()
    os.environ["TMPDIR"] = str(_SCRATCH)
    bench = Bench(arguments.results, arguments.program, arguments.count)
    ours, counter = (next(tracer for tracer in TRACERS if tracer.name == name) for name in (OURS, COUNTING))
    ring.run(arguments.results)
    for tracer in TRACERS:
        bench.idle(tracer)
    for number in range(arguments.rounds):
        turn: list[Tracer | None] = [*TRACERS[number:], None, *TRACERS[:number]]
        for taker in turn:
            bench.timed(taker)
        for tracer in TRACERS:
            bench.counted(tracer)
        for tracer in (counter, ours):
            bench.with_bpf_stats(tracer)
    bench.counted(ours, "long", factor=5)


if __name__ == "__main__":
    main()

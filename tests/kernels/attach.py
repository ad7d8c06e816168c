"""Runs in a guest: attaches to a system that is running already, quiet or busy, and writes down what it found.

    python -m tests.kernels.attach WORKLOAD RESULTS TIMES

Each moment is a line of RESULTS/moments.jsonl: its name, the report, the kernel's own count as text, and the events so
far. The observer is compiled once; to attach again, its tables are emptied.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from binder_observe.analysis.summary import summarize
from binder_observe.observation import Observation
from binder_observe.sources.ebpf import EbpfSource

_STATS: Final = Path("/sys/kernel/debug/binder/stats")
TABLES: Final = ("allocs", "descriptions", "in_mmap", "mapping", "in_release", "last_install", "walks")
_QUIET_LOOKS: Final = 3


class Observer:
    """One observation after the other."""

    def __init__(self, results: Path) -> None:
        self._moments = (results / "moments.jsonl").open("w")
        self.source = EbpfSource()
        self._begin()

    def _begin(self) -> None:
        self.observation = Observation(self.source.meta)
        self._batches = self.source.batches()

    def again(self, *, missed_return: bool = False) -> None:
        """Detaches, and attaches anew; with `missed_return` as if an mmap() that was over had never seemed to end."""
        source: Any = self.source
        bpf = source._probes._bpf
        source._probes.detach()
        an_alloc = next(iter(bpf["allocs"].keys())) if missed_return else None
        for name in TABLES:
            bpf[name].clear()
        if an_alloc is not None:
            bpf["mapping"][an_alloc] = bpf["mapping"].Leaf(1)
        source._ring.drain()
        walks = source._walks
        source._init_state()
        source._walks = walks
        source._attach()
        self._begin()

    def look(self) -> int:
        """Takes in what there is; returns how many rows that were."""
        batch = next(self._batches)
        self.observation.feed(batch)
        return len(batch)

    def until_quiet(self) -> None:
        source: Any = self.source
        while source._probes._bpf["walks"][0].number < 2:  # at attach, and once more
            self.look()
        quiet, said = 0, ""
        while quiet < _QUIET_LOOKS:
            text = _STATS.read_text()
            quiet = quiet + 1 if not self.look() and text == said else 0
            said = text

    def write_down(self, name: str) -> None:
        report = summarize(self.observation).to_dict()
        self._moments.write(json.dumps({"moment": name, "stats": _STATS.read_text(), "report": report}) + "\n")
        self._moments.flush()


def until_there(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        if process.poll() is not None:
            sys.exit(f"the workload ended with status {process.returncode}")
        time.sleep(0.05)


def signal_all(program: str, number: signal.Signals) -> None:
    """To every process that runs the program; those that come meanwhile included."""
    done: set[int] = set()
    while True:
        found = {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if runs(pid, program)}
        if found <= done:
            return
        for pid in found - done:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        done |= found


def runs(pid: int, program: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe") == program
    except OSError:
        return False


def main() -> None:
    workload, results, times = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    lists = Path(__file__).parent / "lists"

    late = results / "late"
    run = subprocess.Popen([workload, str(lists / "attach.requests"), str(late)])
    until_there(late / "ready", run)
    observer = Observer(results)
    observer.until_quiet()
    observer.write_down("idle")
    observer.again(missed_return=True)
    observer.until_quiet()
    observer.write_down("a return missed")
    (late / "go").touch()
    while not (late / "done").exists():
        observer.look()
    observer.until_quiet()
    observer.write_down("after traffic")
    (late / "leave").touch()
    run.wait()
    observer.until_quiet()
    observer.write_down("after exits")

    script = 'n=0; while :; do n=$((n + 1)); "$0" "$1" "$2/traffic$n"; done'
    command = ["bash", "-c", script, workload, str(lists / "traffic.requests"), str(results)]
    traffic = subprocess.Popen(command, start_new_session=True)
    try:
        for n in range(times):
            observer.again()
            while observer.observation.tracker.events < 200 * (n % 5):  # from some events to some thousand
                observer.look()
            os.killpg(traffic.pid, signal.SIGSTOP)  # nobody begins the next list
            signal_all(workload, signal.SIGSTOP)
            observer.until_quiet()
            observer.write_down(f"traffic {n}")
            signal_all(workload, signal.SIGCONT)
            os.killpg(traffic.pid, signal.SIGCONT)
            print(f"traffic {n}: {time.monotonic():.1f}", flush=True)
    finally:
        os.killpg(traffic.pid, signal.SIGKILL)
        signal_all(workload, signal.SIGKILL)
        traffic.wait()
    observer.source.close()


if __name__ == "__main__":
    main()

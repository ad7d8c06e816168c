"""The workload of the comparisons, and the kernel's own count of what it does."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.guest.parsing import hist_hits
from bench.guest.processes import tree_cpu_s

TRACEPOINTS: Final = (
    "binder_alloc_page_start", "binder_alloc_page_end", "binder_alloc_lru_start", "binder_free_lru_start",
    "binder_unmap_kernel_start",
)  # fmt: skip
_EVENTS: Final = Path("/sys/kernel/tracing/events/binder")
_TRIGGER: Final = "hist:keys=common_type"
_POLL_S: Final = 0.02

# What tests/kernels/lists/flood.requests begins with, from four processes.
_LIST: Final = """\
open server binder
open a binder
open b binder
open c binder
open d binder
touch opened
wait go
flood binder senders=a,b,c,d threads=2 count={count} min=0 max=40000 mode=mixed seed=1 hold=8
reclaim
touch done
wait leave
"""
_THREADS: Final = 8


@dataclass(frozen=True)
class Flooded:
    """What one flood took: its duration, and the processor time of the processes that made it."""

    transactions: int
    seconds: float
    cpu_s: float


class Flood:
    """The workload's processes with binder open, from `with` to its end. `count` is transactions of each thread."""

    def __init__(self, program: Path, directory: Path, count: int) -> None:
        self._program, self._directory, self._count = program, directory, count

    def __enter__(self) -> Flood:
        self._directory.mkdir()
        requests = self._directory / "requests"
        requests.write_text(_LIST.format(count=self._count))
        self._process = subprocess.Popen([self._program, requests, self._directory], stdout=subprocess.DEVNULL)
        self._until("opened")
        return self

    def run(self) -> Flooded:
        before = tree_cpu_s(self._process.pid)
        (self._directory / "go").touch()
        self._until("done")
        cpu_s = tree_cpu_s(self._process.pid) - before
        entries = [json.loads(line) for line in (self._directory / "log.jsonl").read_text().splitlines()]
        at = next(i for i, entry in enumerate(entries) if entry["request"].startswith("flood"))
        seconds = (entries[at]["ts_ns"] - entries[at - 1]["ts_ns"]) / 1e9
        return Flooded(entries[at]["sent"], seconds, cpu_s)

    def __exit__(self, *_: object) -> None:
        (self._directory / "go").touch()
        (self._directory / "leave").touch()
        self._process.wait()

    def _until(self, name: str) -> None:
        while not (self._directory / name).exists():
            if self._process.poll() is not None:
                raise RuntimeError(f"the workload ended with status {self._process.returncode}")
            time.sleep(_POLL_S)


@contextmanager
def counting() -> Iterator[dict[str, int]]:
    """Counts tracepoints by ftrace's histograms, which know nothing of BPF, perf or trace-cmd; full when it ends."""
    counts: dict[str, int] = {}
    for name in TRACEPOINTS:
        (_EVENTS / name / "trigger").write_text(_TRIGGER)
    try:
        yield counts
    finally:
        for name in TRACEPOINTS:
            counts[name] = hist_hits((_EVENTS / name / "hist").read_text())
            (_EVENTS / name / "trigger").write_text(f"!{_TRIGGER}")

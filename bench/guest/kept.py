"""How many events each tracer kept, read from what it left."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import numpy as np

from bench.guest import parsing
from bench.guest.flood import TRACEPOINTS
from bench.guest.tracers import COUNTING, OURS, PERF, PRINTING, TRACE_CMD
from binder_observe.events import TABLE
from binder_observe.recording.reader import RecordingReader

_KINDS: Final = [row.kind for row in TABLE if row.tracepoint in TRACEPOINTS]


def events(tracer: str, output: Path) -> int:
    """Events of the tracepoints in the file that a tracer left, or in the map that it printed."""
    if tracer == OURS:
        return recorded(output)
    if tracer == COUNTING:
        return parsing.bpftrace_count(output.read_text())
    if tracer == PRINTING:
        return parsing.printed(output.read_text())
    if tracer == TRACE_CMD:
        return parsing.trace_cmd_events(_said("trace-cmd", "report", "-i", str(output)), TRACEPOINTS)
    assert tracer == PERF
    return parsing.perf_samples(_said("perf", "report", "--stats", "-i", str(output)))


def recorded(path: Path) -> int:
    """Events of the tracepoints in a recording."""
    with RecordingReader(path) as reader:
        return sum(int(np.isin(batch.kind, _KINDS).sum()) for batch in reader.batches())


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-500:]}")
    return done.stdout

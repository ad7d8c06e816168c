"""What tools print, as numbers. Each raises ValueError when the text is something else."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass


def hist_hits(text: str) -> int:
    """How many events a `hist` trigger has seen (Documentation/trace/histogram.rst)."""
    return _number(r"^ *Hits: (\d+)$", text)


def bpftrace_count(text: str) -> int:
    """The value of the map `@` that bpftrace prints when it ends."""
    return _number(r"^@: (\d+)$", text)


def bpftrace_lost(text: str) -> int:
    """Events that bpftrace says it lost on their way to it, of those that it was to print."""
    return sum(int(count) for count in re.findall(r"^Lost (\d+) events$", text, re.MULTILINE))


def printed(text: str) -> int:
    """Lines of the events that bpftrace printed: seven numbers each (tracers.py)."""
    return len(re.findall(r"^\d+(?: \d+){6}$", text, re.MULTILINE))


def trace_cmd_events(text: str, names: Collection[str]) -> int:
    """Events of these names in what `trace-cmd report` prints."""
    kinds = re.findall(r"^ .*?\[\d+\].*?\s(\w+):", text, re.MULTILINE)
    return sum(kind in names for kind in kinds)


def perf_samples(text: str) -> int:
    """Samples in what `perf report --stats` prints."""
    return _number(r"^ *SAMPLE events: +(\d+)", text)


@dataclass(frozen=True)
class Program:
    """A BPF program's statistics (kernel.bpf_stats_enabled)."""

    number: int
    kind: str
    name: str
    run_time_ns: int
    runs: int
    misses: int  # the kernel did not run it, because it was being run on that processor already


def programs(text: str) -> list[Program]:
    """What `bpftool --json prog show` lists."""
    return [
        Program(
            entry["id"], entry["type"], entry.get("name", ""),
            entry.get("run_time_ns", 0), entry.get("run_cnt", 0), entry.get("recursion_misses", 0),
        )
        for entry in json.loads(text)
    ]  # fmt: skip


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    if not found:
        raise ValueError(f"nothing like {pattern} in: {text[:500]}")
    return int(found[1])

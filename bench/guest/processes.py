"""Processor time of a process with all that it started, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


def tree_cpu_s(pid: int) -> float:
    """User and system seconds of a process, its children that ended, and those that live, likewise."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # utime, stime, cutime, cstime: fields 14 to 17; the second one may hold anything, up to the last parenthesis
    ticks = sum(int(field) for field in stat.rpartition(")")[2].split()[11:15])
    return ticks * _TICK_S + sum(tree_cpu_s(child) for child in children(pid))


def children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in path.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found

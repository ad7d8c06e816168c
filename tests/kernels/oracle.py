"""The kernel's own count: what `/sys/kernel/debug/binder/stats` says of pages."""

from __future__ import annotations

import re
from typing import Any

Counts = tuple[int, int, int, int]  # active, lru, free, high watermark


def parse(stats: str) -> dict[tuple[int, str], list[Counts]]:
    """(pid, context) -> its mappings, several where the process opened the device several times.

    A file that is not mapped (any more) says 0:0:0 and is left out: there the kernel does not look at the pages.
    """
    found: dict[tuple[int, str], list[Counts]] = {}
    block = re.compile(
        r"^proc (\d+)\ncontext (\S+)\n(?:^  .*\n)*?^  pages: (\d+):(\d+):(\d+)\n^  pages high watermark: (\d+)$", re.M
    )
    for match in block.finditer(stats):
        pid, context, active, lru, free, high = match.groups()
        if int(active) + int(lru) + int(free):
            found.setdefault((int(pid), context), []).append((int(active), int(lru), int(free), int(high)))
    return {key: sorted(counts) for key, counts in found.items()}


def tracked(report: dict[str, Any]) -> dict[tuple[int, str], list[Counts]]:
    """The same from a JSON report, of what is not released."""
    found: dict[tuple[int, str], list[Counts]] = {}
    for process in report["processes"]:
        pages = process["pages"]
        assert pages["active"] + pages["lru"] + pages["free"] + pages["unknown"] == process["mapping_pages"]
        if not process["released"]:
            counts = (pages["active"], pages["lru"], pages["free"], pages["high_watermark"])
            found.setdefault((process["pid"], process["context"]), []).append(counts)
    return {key: sorted(counts) for key, counts in found.items()}

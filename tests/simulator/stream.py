"""An event stream as lines of text, in words that a kernel's run and the model's share, and its digest.

A line has the event, the process that owns the mapping, the page, and who caused it:

    ALLOC_PAGE_END p0 3 p1

Processes have the names of the list; `kworker` and `workload` (who writes drop_caches) are the others. Releases have
no owner, because ftrace's probe of a function cannot tell it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from binder_observe.events import Kind
from binder_observe.simulator.driver import KWORKER
from binder_observe.simulator.request_runner import RequestRun

_RECORD = re.compile(r"\s*(?P<comm>.+)-(?P<tid>\d+)\s+\[\d+\]\s+\S+\s+[\d.]+: (?P<event>\w+): (?P<rest>.*)")
_PROBES = {"release": "RELEASE_START", "released": "RELEASE_END"}


def of_model(run: RequestRun) -> list[str]:
    """The stream of a list that ran on the model."""
    names = {pid: name for name, pid in run.pids.items()}
    owner: dict[int, str] = {}
    lines = []
    for _, kind, alloc, page, _, tgid, _, _ in run.events.rows():
        if kind is Kind.MMAP:
            owner[alloc] = names[tgid]
        if kind > Kind.RELEASE_END:
            continue
        who = "kworker" if tgid == KWORKER.tgid else names.get(tgid, "workload")
        lines.append(f"{kind.name} {who}" if kind >= Kind.RELEASE_START else f"{kind.name} {owner[alloc]} {page} {who}")
    return lines


def of_ftrace(text: Sequence[str], pids: Mapping[int, str]) -> list[str]:
    """The stream of a kernel's run, from the lines of its `trace` file; `pids` names the processes of the list."""
    lines = []
    for record in text:
        found = _RECORD.match(record)
        if not found:
            continue
        comm, event = found["comm"], found["event"]
        who = "kworker" if comm.startswith("kworker") else pids.get(int(found["tid"]), "workload")
        if event in _PROBES:
            lines.append(f"{_PROBES[event]} {who}")
        elif event.startswith("binder_"):
            fields = re.fullmatch(r"proc=(\d+) page_index=(\d+)", found["rest"])
            assert fields, record
            lines.append(f"{event.removeprefix('binder_').upper()} {pids[int(fields[1])]} {fields[2]} {who}")
    return lines


def digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()

"""From the ring buffer to columns: our reader and bcc's callback on the same records, in turn.

Runs in the guest. A BPF program, run on demand, puts records into the ring; then one of the two takes them all, on the
clock of its thread.
"""

from __future__ import annotations

import json
import mmap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from binder_observe.sources.bcc_loader import load_bcc
from binder_observe.sources.probes import DEFAULT_RING_BYTES, probes_directory
from binder_observe.sources.ring import RECORD, Ring
from binder_observe.sources.snapshot import run_once

_A_RUN: Final = 256
_RECORDS: Final = 1 << 16  # a third of what the ring holds

_TEXT: Final = """
#include <uapi/linux/ptrace.h>
#include "record.h"
BPF_RINGBUF_OUTPUT(ring, RING_PAGES);
BPF_TABLE("array", u32, u32, next, 1);
int fill(void *ctx)
{
	u32 zero = 0, *n = next.lookup(&zero);
	if (!n)
		return 0;
	for (int i = 0; i < A_RUN; i++) {
		struct record *record = ring.ringbuf_reserve(sizeof(*record));
		if (!record)
			return 1;
		record->ts_ns = bpf_ktime_get_boot_ns();
		record->alloc = *n % 7;
		record->page = *n;
		record->tgid = 1000 + *n % 5;
		record->tid = 2000 + *n % 11;
		record->lost = 0;
		record->cpu = *n & 1;
		record->kind = 1 + *n % 5;
		record->pad = 0;
		*n += 1;
		ring.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	}
	return 0;
}
"""


def run(results: Path, repetitions: int = 3) -> None:
    """Appends the processor seconds of each to runs.jsonl. Raises RuntimeError where the two do not read the same."""
    bcc = load_bcc()
    pages = DEFAULT_RING_BYTES // mmap.PAGESIZE
    bpf: Any = bcc.BPF(
        text=_TEXT,
        cflags=[f"-DRING_PAGES={pages}", f"-DA_RUN={_A_RUN}", "-I", str(probes_directory()), "-w"],
    )
    fill = int(bpf.load_func("fill", bcc.BPF.RAW_TRACEPOINT).fd)
    ring = Ring(int(bpf["ring"].map_fd), DEFAULT_RING_BYTES)
    rows: list[tuple[int, ...]] = []
    table = bpf["ring"]

    def callback(context: object, data: object, size: int) -> None:
        event = table.event(data)
        rows.append((event.ts_ns, event.alloc, event.page, event.tgid, event.tid, event.lost, event.cpu, event.kind))

    table.open_ring_buffer(callback)

    def theirs() -> dict[str, Any]:
        rows.clear()
        bpf.ring_buffer_consume()
        names = [name for name in RECORD.names or () if name != "pad"]
        return {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}

    def ours() -> dict[str, Any]:
        records, _ = ring.drain()
        return {name: np.ascontiguousarray(records[name]) for name in RECORD.names or () if name != "pad"}

    filled = 0
    for number in range(repetitions):
        for name, take in (("Ring.drain", ours), ("bcc callback", theirs))[:: -1 if number % 2 else 1]:
            _fill(fill)
            columns, seconds = _timed(take)
            if not np.array_equal(columns["page"], np.arange(filled, filled + _RECORDS)):
                raise RuntimeError(f"{name} did not read what is in the ring")
            line = {"kind": "ring", "tracer": name, "events": _RECORDS, "cpu_s": seconds}
            with (results / "runs.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            filled += _RECORDS
    ring.close()
    bpf.cleanup()


def _fill(program: int) -> None:
    for _ in range(_RECORDS // _A_RUN):
        if run_once(program):
            raise RuntimeError("the ring is full")


def _timed(take: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], float]:
    begin = time.thread_time()
    columns = take()
    return columns, time.thread_time() - begin

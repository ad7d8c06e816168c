"""Page states read from the kernel: what `probes/snapshot.c` is built with, how it is run, and what its records say."""

from __future__ import annotations

import ctypes
import os
import re
from ctypes import POINTER, Structure, c_int, c_size_t, c_uint32, c_void_p
from enum import IntEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe.errors import UnsupportedError
from binder_observe.events import Kind
from binder_observe.sources.btf import Btf, libbpf

PAGES: Final = 63  # SNAPSHOT_PAGES of probes/record.h

# Which bits of a word in struct binder_alloc say that its lock is held: `mutex` up to 6.7 and since 6.14, a spinlock
# between (7710e2cca32e). The low bits of a mutex's owner are flags (kernel/locking/mutex.h).
_LOCKS: Final = {"mutex.owner": (1 << 64) - 8, "lock.rlock.raw_lock.val": (1 << 32) - 1}


class Step(IntEnum):
    """What one run of the program says: WALK_* of probes/record.h."""

    DONE = 0
    MORE = 1
    BUSY = 2
    FULL = 3


def lock_layout(btf: Btf) -> dict[str, int]:
    """How it is told that an alloc's lock is held; raises UnsupportedError when that is not known."""
    lock = next((path for path in _LOCKS if btf.has_member("binder_alloc", path)), None)
    if lock is None:
        raise UnsupportedError("the kernel's struct binder_alloc has no lock of a known kind")
    return {"LOCK_WORD": btf.offset("binder_alloc", lock), "LOCK_MASK": _LOCKS[lock]}


def layout(btf: Btf) -> dict[str, int]:
    """The offsets that `snapshot.c` asks for, in bytes, by the names of its defines.

    Raises UnsupportedError when the kernel keeps page states in another way than those that are known.
    """
    found = lock_layout(btf) | {
        "PROC_NODE": btf.offset("binder_proc", "proc_node"),
        "ALLOC_PAGES": btf.offset("binder_alloc", "pages"),
    }
    # f909f0308267 ("binder: store shrinker metadata under page->private")
    if btf.has_struct("binder_shrinker_mdata"):
        return found | {
            "MDATA_LRU": btf.offset("binder_shrinker_mdata", "lru"),
            "PAGE_PRIVATE": btf.offset("page", "private"),
        }
    return found | {
        "PAGE_PTR": btf.offset("binder_lru_page", "page_ptr"),
        "PAGE_LRU": btf.offset("binder_lru_page", "lru"),
        "PAGE_ENTRY": btf.sizeof("binder_lru_page"),
    }


def binder_procs(kallsyms: Path = Path("/proc/kallsyms")) -> int:
    """The address of the kernel's list of binder processes; raises UnsupportedError when it is not told."""
    try:
        symbols = kallsyms.read_bytes()
    except OSError as error:
        raise UnsupportedError(f"cannot read {kallsyms}: {error.strerror}") from error
    found = re.search(rb"^([0-9a-f]+) \w binder_procs(?:\t\[binder_linux\])?$", symbols, re.MULTILINE)
    if found is None:
        raise UnsupportedError(f"{kallsyms} has no symbol binder_procs")
    address = int(found[1], 16)
    if not address:
        raise UnsupportedError(f"{kallsyms} hides addresses (no CAP_SYSLOG, or kernel.kptr_restrict)")
    return address


class _TestRunOpts(Structure):
    """struct bpf_test_run_opts, tools/lib/bpf/bpf.h."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


def run_once(program: int) -> int:
    """Runs a raw tracepoint's program (its file descriptor) here and now; returns what it returns.

    Raises UnsupportedError where the kernel cannot (it can since 5.10).
    """
    opts = _TestRunOpts(sz=ctypes.sizeof(_TestRunOpts))
    run = libbpf().bpf_prog_test_run_opts
    run.argtypes, run.restype = [c_int, POINTER(_TestRunOpts)], c_int
    failed = run(program, ctypes.byref(opts))
    if failed:
        raise UnsupportedError(f"the kernel does not run a BPF program on demand: {os.strerror(abs(failed))}")
    return int(opts.retval)


def without_stale(records: NDArray[np.void], lost_of: NDArray[np.int64]) -> NDArray[np.void]:
    """Without the states that were read before a gap that stands in front of them: what is behind it, they do not know.

    `lost_of` is how many events each alloc had lost before these records.
    """
    packed = records["kind"] == PAGES
    if not packed.any():
        return records
    lost = lost_of.copy()
    np.maximum.at(lost, records["alloc"], records["lost"])
    fresh = records["lost"] == lost[records["alloc"]]
    kept: NDArray[np.void] = records[~packed | fresh]
    return kept


def expand(records: NDArray[np.void]) -> NDArray[np.void]:
    """Puts one SNAPSHOT_* record a page in the place of each that stands for up to 32, in the order of pages.

    Those that say nothing are left out.
    """
    packed = records["kind"] == PAGES
    snapshot = packed | (records["kind"] == Kind.SNAPSHOT_HIGH)
    if not snapshot.any():
        return records
    counts = np.where(snapshot, records["cpu"], 1)
    rows = np.repeat(records, counts)
    inside = np.repeat(packed, counts)
    offset = (np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts))[inside].astype(np.uint32)
    installed = rows["tgid"][inside] >> offset & 1
    parked = rows["tid"][inside] >> offset & 1
    rows["kind"][inside] = (
        Kind.SNAPSHOT_FREE
        + installed * (Kind.SNAPSHOT_ACTIVE - Kind.SNAPSHOT_FREE)
        + (installed & parked) * (Kind.SNAPSHOT_LRU - Kind.SNAPSHOT_ACTIVE)
    )
    rows["page"][inside] += offset
    rows["tgid"][inside] = rows["tid"][inside] = 0
    rows["cpu"][np.repeat(snapshot, counts)] = 0
    return rows

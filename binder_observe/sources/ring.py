"""Reads a BPF ring buffer in whole batches, as one array in mapped memory.

Layout and protocol: Documentation/bpf/ringbuf.rst and kernel/bpf/ringbuf.c. The map's memory is a page with the
consumer's position, a page with the producer's, then the data, mapped twice in a row so that a record never wraps.
All of our records have one size, so a run of them is an array of `ENTRY`.
"""

from __future__ import annotations

import mmap
import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

# struct record of probes/record.h
RECORD: Final = np.dtype(
    [
        ("ts_ns", "<i8"),
        ("alloc", "<u4"),
        ("page", "<u4"),
        ("tgid", "<u4"),
        ("tid", "<u4"),
        ("lost", "<u4"),
        ("cpu", "<u2"),
        ("kind", "u1"),
        ("pad", "u1"),
    ]
)
# struct bpf_ringbuf_hdr stands before each record
ENTRY: Final = np.dtype([("length", "<u4"), ("page_offset", "<u4"), ("record", RECORD)])
_BUSY: Final = 1 << 31  # BPF_RINGBUF_BUSY_BIT: reserved, not yet submitted


class Ring:
    """The consumer of one ring buffer; the only one, as the kernel asks."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        page = mmap.PAGESIZE
        self._size = size_bytes
        self._consumer_map = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer_map = mmap.mmap(fd, page + 2 * size_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumer = np.frombuffer(self._consumer_map, dtype="<u8", count=1)
        self._producer = np.frombuffer(self._producer_map, dtype="<u8", count=1)
        self._data = np.frombuffer(self._producer_map, dtype=np.uint8, offset=page)
        self._fence = threading.Lock()

    def drain(self) -> tuple[NDArray[np.void], float]:
        """Every record submitted so far (dtype RECORD, a copy), in order, and how full the ring was (0 to 1)."""
        begin = int(self._consumer[0])
        end = int(self._producer[0])
        # The kernel publishes a record before the position. Python has no load barrier, but a lock's release and
        # acquire are one: what is read below is not older than the position above, on any processor.
        self._fence.acquire()
        self._fence.release()
        self._fence.acquire()
        self._fence.release()
        start = begin & (self._size - 1)
        count = (end - begin) // ENTRY.itemsize
        entries = self._data[start : start + count * ENTRY.itemsize].view(ENTRY)
        busy = np.flatnonzero(entries["length"] & np.uint32(_BUSY))
        if len(busy):
            entries = entries[: busy[0]]
        # as 8-byte words: numpy copies structured rows field by field
        words = entries.view(np.uint64).reshape(-1, ENTRY.itemsize // 8)
        records = words[:, 1:].copy().view(RECORD)[:, 0]
        self._consumer[0] = begin + len(records) * ENTRY.itemsize
        return records, (end - begin) / self._size

    def close(self) -> None:
        del self._consumer, self._producer, self._data
        self._consumer_map.close()
        self._producer_map.close()

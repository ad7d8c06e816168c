"""The ring buffer's consumer, against a producer written from the kernel's protocol (kernel/bpf/ringbuf.c)."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binder_observe.sources.ring import ENTRY, RECORD, Ring

SIZE = mmap.PAGESIZE
BUSY = 1 << 31


class Producer:
    """The kernel's side, in a file: a page for each position, then the data; the second copy is kept by hand."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * mmap.PAGESIZE + 2 * SIZE)
        self.position = 0

    def reserve(self, number: int) -> int | None:
        """One busy record; None when there is no room."""
        consumed = struct.unpack("<Q", os.pread(self.fd, 8, 0))[0]
        if self.position + ENTRY.itemsize - consumed > SIZE - 1:
            return None
        at = self.position
        self._write(at, struct.pack("<II", RECORD.itemsize | BUSY, 0) + struct.pack("<qIIIIIHBB", number, *[0] * 8))
        self.position += ENTRY.itemsize
        os.pwrite(self.fd, struct.pack("<Q", self.position), mmap.PAGESIZE)
        return at

    def submit(self, at: int) -> None:
        self._write(at, struct.pack("<I", RECORD.itemsize))

    def _write(self, at: int, data: bytes) -> None:
        for i, byte in enumerate(data):
            for copy in (0, SIZE):
                os.pwrite(self.fd, bytes([byte]), 2 * mmap.PAGESIZE + (at + i) % SIZE + copy)


@pytest.fixture
def pair() -> Iterator[tuple[Producer, Ring]]:
    producer = Producer()
    ring = Ring(producer.fd, SIZE)
    yield producer, ring
    ring.close()
    os.close(producer.fd)


def numbers(ring: Ring) -> list[int]:
    records, _ = ring.drain()
    return [int(n) for n in records["ts_ns"]]


def test_what_is_reserved_and_not_submitted_stops_the_reader(pair: tuple[Producer, Ring]) -> None:
    producer, ring = pair
    places = [producer.reserve(n) for n in range(3)]
    assert None not in places
    producer.submit(places[0] or 0)
    producer.submit(places[2] or 0)
    assert numbers(ring) == [0]
    producer.submit(places[1] or 0)
    assert numbers(ring) == [1, 2]
    assert numbers(ring) == []


def test_a_full_ring_is_told_and_makes_room(pair: tuple[Producer, Ring]) -> None:
    producer, ring = pair
    kept = 0
    while (at := producer.reserve(kept)) is not None:
        producer.submit(at)
        kept += 1
    records, full = ring.drain()
    assert len(records) == kept == (SIZE - 1) // ENTRY.itemsize
    assert full > 0.9
    assert producer.reserve(0) is not None


@given(st.lists(st.integers(1, 60), max_size=20))
def test_every_record_comes_once_and_in_order_around_the_end(bursts: list[int]) -> None:
    producer = Producer()
    ring = Ring(producer.fd, SIZE)
    sent = 0
    received: list[int] = []
    for burst in bursts:
        for _ in range(burst):
            at = producer.reserve(sent)
            assert at is not None
            producer.submit(at)
            sent += 1
        received += numbers(ring)
    assert received == list(range(sent))
    ring.close()
    os.close(producer.fd)

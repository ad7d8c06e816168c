"""What the live source makes of records: descriptions, gaps and releases at their place. The kernel is a few tables."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch, Kind
from binder_observe.sources.ebpf import EbpfSource
from binder_observe.sources.pids import check_pids
from binder_observe.sources.probes import check_ring_bytes, tracepoints_are_preemptible
from binder_observe.sources.ring import RECORD
from binder_observe.tracker import PageTracker


class Kernel:
    """Stands for both the probes and the ring."""

    def __init__(self) -> None:
        self.descriptions: dict[int, tuple[int, int, int, str, str]] = {}
        self.lost: dict[int, tuple[int, bool]] = {}
        self.in_table = 0
        self.waiting: list[Any] = []
        self.forgotten: list[int] = []
        self.misses = [0]

    def description(self, number: int) -> tuple[int, int, int, str, str] | None:
        return self.descriptions.get(number)

    def forget(self, number: int) -> None:
        self.forgotten.append(number)
        self.lost.pop(number, None)

    def lost_totals(self) -> tuple[int, int]:
        return sum(n for n, _ in self.lost.values()), self.in_table

    def lost_by_alloc(self) -> dict[int, tuple[int, bool]]:
        return dict(self.lost)

    def missed(self) -> int:
        return self.misses.pop(0) if len(self.misses) > 1 else self.misses[0]

    def drain(self) -> tuple[Any, float]:
        records, self.waiting = self.waiting, []
        return np.array(records, dtype=RECORD), 0.0


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> tuple[EbpfSource, Kernel]:
    monkeypatch.setattr("binder_observe.sources.ebpf._LONGEST_S", 0.001)
    monkeypatch.setattr("binder_observe.sources.ebpf.comm", lambda tgid: f"task{tgid}")
    kernel = Kernel()
    kernel.descriptions = {1: (100, 254, 0, "server", "binder"), 2: (200, 62, 9, "late", "hwbinder")}
    source = EbpfSource.__new__(EbpfSource)
    source._init_state()
    source._probes = source._ring = kernel  # type: ignore[assignment]
    return source, kernel


def record(ts: int, kind: Kind, alloc: int = 1, page: int = 0, task: int = 7, lost: int = 0) -> tuple[int, ...]:
    return (ts, alloc, page, task, task, lost, 0, kind, 0)


def batch(source: EbpfSource, *records: tuple[int, ...]) -> EventBatch:
    return source._batch(np.array(list(records), dtype=RECORD))


def rows(found: EventBatch) -> list[tuple[str, int, int, int, str | None]]:
    return [(kind.name, alloc, page, tgid, name) for _, kind, alloc, page, _, tgid, _, name in found.rows()]


def test_allocs_and_tasks_are_described_before_their_first_event(live: tuple[EbpfSource, Kernel]) -> None:
    source, _ = live
    found = batch(
        source,
        record(1, Kind.MMAP, 1, 254, 100),
        record(2, Kind.FREE_LRU_START, 2, 5),
        record(3, Kind.ALLOC_PAGE_START),
    )
    assert rows(found) == [
        ("PROCESS", 0, 0, 100, "server"),
        ("MMAP", 1, 254, 100, "binder"),
        ("ALLOC", 2, 62, 200, "hwbinder"),
        ("SNAPSHOT_HIGH", 2, 9, 0, None),
        ("PROCESS", 0, 0, 200, "late"),
        ("PROCESS", 0, 0, 7, "task7"),
        ("FREE_LRU_START", 2, 5, 7, None),
        ("ALLOC_PAGE_START", 1, 0, 7, None),
    ]
    assert rows(batch(source, record(4, Kind.ALLOC_PAGE_END))) == [("ALLOC_PAGE_END", 1, 0, 7, None)]


def test_gaps_stand_before_the_event_that_tells_of_them(live: tuple[EbpfSource, Kernel]) -> None:
    source, _ = live
    batch(source, record(1, Kind.MMAP, 1, 254, 7))
    found = batch(
        source,
        record(2, Kind.ALLOC_PAGE_START, page=0), record(3, Kind.ALLOC_PAGE_START, page=1, lost=3),
        record(4, Kind.ALLOC_PAGE_START, page=2, lost=3), record(5, Kind.ALLOC_PAGE_START, page=3, lost=5),
        record(6, Kind.ALLOC_PAGE_START, page=4, lost=4),  # its processor read the counter before the one above
    )  # fmt: skip
    assert [(kind, page) for kind, _, page, _, _ in rows(found)] == [
        ("ALLOC_PAGE_START", 0), ("LOST", 3), ("ALLOC_PAGE_START", 1), ("ALLOC_PAGE_START", 2), ("LOST", 2),
        ("ALLOC_PAGE_START", 3), ("ALLOC_PAGE_START", 4),
    ]  # fmt: skip
    assert found.lost_events == 5


def test_gaps_without_a_later_record_are_found(live: tuple[EbpfSource, Kernel]) -> None:
    source, kernel = live
    batch(source, record(1, Kind.MMAP, 1, 254, 7))
    kernel.lost = {1: (4, False)}
    kernel.waiting = [record(2, Kind.ALLOC_PAGE_START, lost=1)]  # reserved before the table was read
    assert source._unaccounted()
    found = rows(source._reconcile())
    assert [(kind, page) for kind, _, page, _, _ in found] == [("LOST", 1), ("ALLOC_PAGE_START", 0), ("LOST", 3)]
    assert not source._unaccounted()


def test_a_release_that_was_lost_is_told(live: tuple[EbpfSource, Kernel]) -> None:
    source, kernel = live
    tracker = PageTracker()
    tracker.update(batch(source, record(1, Kind.MMAP, 1, 254, 7)))
    kernel.lost = {1: (2, True)}
    found = source._reconcile()
    assert [kind for kind, *_ in rows(found)] == ["LOST", "RELEASE_END"]
    assert kernel.forgotten == [1]
    tracker.update(found)
    (state,) = tracker.allocs()
    assert state.released


def test_an_alloc_whose_every_record_was_lost_is_described(live: tuple[EbpfSource, Kernel]) -> None:
    source, kernel = live
    kernel.lost = {2: (3, False)}
    tracker = PageTracker()
    tracker.update(source._reconcile())
    (state,) = tracker.allocs()
    assert (state.pid, state.comm, state.unknown, state.high_watermark, state.lost_events) == (200, "late", 62, 9, 3)


def test_a_released_alloc_is_forgotten_once(live: tuple[EbpfSource, Kernel]) -> None:
    source, kernel = live
    batch(source, record(1, Kind.MMAP, 1, 254, 7), record(2, Kind.RELEASE_START), record(3, Kind.RELEASE_END))
    assert kernel.forgotten == [1]


def test_what_no_program_saw_is_a_gap_of_all(live: tuple[EbpfSource, Kernel]) -> None:
    source, kernel = live
    kernel.in_table = 2
    kernel.misses = [3]
    assert source._unaccounted()
    assert rows(source._reconcile()) == [("LOST", 0, 5, 0, None)]
    assert not source._unaccounted()


def test_a_miss_that_a_spare_is_about_to_take_is_no_gap(live: tuple[EbpfSource, Kernel]) -> None:
    source, kernel = live
    kernel.misses = [1, 1, 0, 0]
    assert not source._unaccounted()


def test_pids_are_checked() -> None:
    with pytest.raises(ObserveError, match="no process 4194304"):
        check_pids([1 << 22])
    with pytest.raises(ObserveError, match="no binder device open"):
        check_pids([os.getpid()])


@pytest.mark.parametrize("size", [0, 1, 4095, 5000, 12288, 1 << 31])
def test_ring_sizes_are_checked(size: int) -> None:
    with pytest.raises(ObserveError, match="power of two"):
        check_ring_bytes(size)


def test_spares_are_for_kernels_that_preempt_in_tracepoints() -> None:
    class Types:
        def __init__(self, *structs: str) -> None:
            self.structs = structs

        def has_struct(self, name: str) -> bool:
            return name in self.structs

    new: Any = Types("srcu_ctr")
    old: Any = Types()
    assert tracepoints_are_preemptible(new, "#1 SMP PREEMPT_DYNAMIC Debian")
    assert not tracepoints_are_preemptible(new, "#1 SMP Debian")
    assert not tracepoints_are_preemptible(old, "#1 SMP PREEMPT_DYNAMIC Debian")

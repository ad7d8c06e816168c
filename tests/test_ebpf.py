"""What the live source makes of records: descriptions, gaps and releases at their place. The kernel is a few tables."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from binder_observe.errors import ObserveError, UnsupportedError
from binder_observe.events import EventBatch, Kind, concat
from binder_observe.sources.ebpf import _WIDENED_NS, EbpfSource, _now
from binder_observe.sources.filter import Filter
from binder_observe.sources.pids import check_pids
from binder_observe.sources.probes import check_ring_bytes, probes_directory, tracepoints_are_preemptible
from binder_observe.sources.ring import RECORD
from binder_observe.sources.selection import Scope, Selection
from binder_observe.sources.snapshot import PAGES, Step
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
        self.walk: list[Step | tuple[int, ...] | Exception] = []  # what runs of the walk say, and put into the ring
        self.walks = 0
        self.detached = False
        self.owners: list[int] = []
        self.processes: dict[tuple[int, bool], tuple[int, str]] = {}  # by pid, and whether that is one of ours
        self.widened = 0

    def attach(self) -> None:
        pass

    def add_owner(self, pid: int) -> None:
        self.owners.append(pid)
        self.widened = _now()

    def remove_owner(self, pid: int) -> None:
        self.owners.remove(pid)

    def widened_ns(self) -> int:
        return self.widened

    def any_selected(self) -> bool:
        return bool(self.waiting)

    def find_process(self, pid: int, *, inner: bool) -> tuple[int, str] | None:
        return self.processes.get((pid, inner))

    def detach(self) -> None:
        self.detached = True

    def walk_step(self) -> Step:
        assert not self.detached
        while self.walk:
            step = self.walk.pop(0)
            if isinstance(step, Exception):
                raise step
            if isinstance(step, Step):
                return step
            self.waiting.append(step)
        self.walks += 1
        return Step.DONE

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
    monkeypatch.setattr("binder_observe.sources.filter.comm", lambda tgid: f"task{tgid}")
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
        ("PROCESS", 1, 0, 100, "server"),
        ("MMAP", 1, 254, 100, "binder"),
        ("ALLOC", 2, 62, 200, "hwbinder"),
        ("SNAPSHOT_HIGH", 2, 9, 0, None),
        ("PROCESS", 2, 0, 200, "late"),
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
    (state,) = tracker.update(found).allocs
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


def states(ts: int, alloc: int, first: int, installed: int, parked: int, count: int, lost: int = 0) -> tuple[int, ...]:
    """What one run of the walk puts into the ring."""
    return (ts, alloc, first, installed, parked, lost, count, PAGES, 0)


def observed(source: EbpfSource, *, rounds: int) -> EventBatch:
    """What `batches()` yields when it is stopped after so many."""
    found = []
    for n, taken in enumerate(source.batches(), 1):
        found.append(taken)
        if n == rounds:
            source.stop()
    return concat(found)


@pytest.fixture
def walking(live: tuple[EbpfSource, Kernel]) -> Iterator[tuple[EbpfSource, Kernel]]:
    source, kernel = live
    source._wake = os.eventfd(0, os.EFD_NONBLOCK)
    source._walks = True
    kernel.descriptions[3] = (300, 3, 2, "idle", "binder")
    yield source, kernel
    os.close(source._wake)


def test_pages_from_before_attach_are_told_before_anything_else(walking: tuple[EbpfSource, Kernel]) -> None:
    source, kernel = walking
    kernel.walk = [
        states(5, 3, 0, 0b011, 0b010, 2), Step.MORE, Step.BUSY, Step.FULL, record(6, Kind.FREE_LRU_START, 3),
        states(7, 3, 2, 0, 0, 1), Step.MORE,
    ]  # fmt: skip
    found = observed(source, rounds=6)
    assert rows(found)[:8] == [
        ("ATTACH", 0, 0, 0, None),
        ("ALLOC", 3, 3, 300, "binder"),
        ("SNAPSHOT_HIGH", 3, 2, 0, None),
        ("PROCESS", 3, 0, 300, "idle"),
        ("SNAPSHOT_ACTIVE", 3, 0, 0, None),
        ("SNAPSHOT_LRU", 3, 1, 0, None),
        ("PROCESS", 0, 0, 7, "task7"),
        ("FREE_LRU_START", 3, 0, 7, None),
    ]
    assert rows(found)[8] == ("SNAPSHOT_FREE", 3, 2, 0, None)
    assert kernel.walks == 2  # and once more
    tracker = PageTracker()
    tracker.update(found)
    (state,) = tracker.allocs()
    assert (state.active, state.lru, state.free, state.unknown, state.unexplained) == (0, 2, 1, 0, 0)


def test_a_mapping_that_was_being_made_at_attach_is_found_by_the_second_walk(
    walking: tuple[EbpfSource, Kernel],
) -> None:
    source, kernel = walking
    kernel.walk = [Step.DONE, states(5, 3, 0, 0, 0, 3), Step.MORE]
    found = observed(source, rounds=3)
    assert [kind for kind, *_ in rows(found)].count("SNAPSHOT_FREE") == 3
    tracker = PageTracker()
    tracker.update(found)
    (state,) = tracker.allocs()
    assert (state.pid, state.free, state.unknown) == (300, 3, 0)


def test_what_was_missed_while_probes_were_attached_is_no_loss(walking: tuple[EbpfSource, Kernel]) -> None:
    source, kernel = walking
    kernel.misses = [11]
    source._attach()
    assert not source._unaccounted()
    kernel.misses = [13]
    assert source._unaccounted()
    assert rows(source._reconcile()) == [("LOST", 0, 2, 0, None)]


def test_a_batch_can_be_hurried(walking: tuple[EbpfSource, Kernel]) -> None:
    source, _ = walking
    coming = source.batches()
    for _ in range(3):
        next(coming)
    source.hurry()
    next(coming)
    with pytest.raises(BlockingIOError):  # it was heard, and the batch after it waits again
        os.eventfd_read(source._wake)


def test_states_are_read_again_after_a_gap_and_before_the_end(walking: tuple[EbpfSource, Kernel]) -> None:
    source, kernel = walking
    kernel.walk = [states(5, 3, 0, 0b001, 0, 3), Step.DONE]
    tracker = PageTracker()
    for n, taken in enumerate(source.batches()):
        tracker.update(taken)
        if n == 1:
            kernel.waiting = [record(6, Kind.FREE_LRU_START, 3, 1, lost=2)]
            kernel.lost = {3: (2, False)}
            kernel.walk = [states(9, 3, 0, 0b110, 0b010, 3, lost=2)]
            source.stop()
    assert kernel.detached
    (state,) = tracker.allocs()
    assert (state.active, state.lru, state.free, state.unknown) == (1, 1, 1, 0)
    assert state.lost_events == 2


def test_states_from_before_a_gap_are_not_put_behind_it(live: tuple[EbpfSource, Kernel]) -> None:
    source, _ = live
    found = batch(
        source, record(1, Kind.MMAP, 1, 254, 7), record(4, Kind.ALLOC_PAGE_START, lost=1), states(3, 1, 0, 1, 0, 1)
    )
    assert [kind for kind, *_ in rows(found)][-2:] == ["LOST", "ALLOC_PAGE_START"]
    assert rows(batch(source, states(5, 1, 0, 1, 0, 1, lost=1))) == [("SNAPSHOT_ACTIVE", 1, 0, 0, None)]
    assert rows(batch(source, states(6, 1, 0, 1, 0, 1, lost=0))) == []


def test_a_kernel_that_runs_no_program_on_demand_is_done_without(walking: tuple[EbpfSource, Kernel]) -> None:
    source, kernel = walking
    kernel.walk = [UnsupportedError("no such thing here")]
    source._attach()
    assert source._notes == ["page states cannot be read: no such thing here"]
    assert [kind for kind, *_ in rows(observed(source, rounds=2))] == ["ATTACH", "DETACH"]
    assert kernel.walks == 0


def test_events_from_when_only_some_probes_were_attached_are_left_out(live: tuple[EbpfSource, Kernel]) -> None:
    source, kernel = live
    source._attach_ns = 10
    found = batch(
        source,
        record(3, Kind.ALLOC_LRU_START),
        record(4, Kind.RELEASE_END, 2),
        record(11, Kind.FREE_LRU_START),
    )
    assert [(kind, alloc) for kind, alloc, *_ in rows(found) if alloc] == [
        ("ALLOC", 1), ("PROCESS", 1), ("FREE_LRU_START", 1)
    ]  # fmt: skip
    assert kernel.forgotten == [2]


def select(
    source: EbpfSource,
    monkeypatch: pytest.MonkeyPatch,
    selection: Selection,
    *,
    wait: bool = False,
    inner: bool = False,
) -> None:
    """What the constructor does with its arguments; the processes that are asked for are said to have binder open."""
    monkeypatch.setattr("binder_observe.sources.processes.in_init_namespace", lambda: not inner)
    monkeypatch.setattr("binder_observe.sources.pids._need_binder", lambda pid, fd: None)
    source._filter = Filter(selection, wait=wait)


@pytest.mark.parametrize("selection", [Selection(names=("idle",)), Selection(contexts=("binder",))])
def test_nobody_who_is_selected_is_an_error_or_waited_for(
    walking: tuple[EbpfSource, Kernel], selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, kernel = walking
    kernel.walk = [Step.MORE, Step.BUSY, Step.MORE, Step.DONE] * 2
    select(source, monkeypatch, selection)
    with pytest.raises(ObserveError, match=r"fits (name idle|context binder); --wait"):
        source._attach()
    select(source, monkeypatch, selection, wait=True)
    source._attach()
    assert (source.waiting, kernel.walk) == (True, [])
    kernel.walk = [Step.MORE, states(5, 3, 0, 0, 0, 3), Step.MORE, Step.MORE]
    select(source, monkeypatch, selection)
    source._attach()
    assert (source.waiting, kernel.walk) == (False, [Step.MORE])  # the rest of the walk is for later


def test_where_states_cannot_be_read_nobody_is_missed(
    live: tuple[EbpfSource, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = live
    select(source, monkeypatch, Selection(names=("idle",)))
    source._attach()


def test_a_new_name_is_walked_for_at_once_and_once_more(walking: tuple[EbpfSource, Kernel]) -> None:
    source, kernel = walking

    def wants_a_walk() -> bool:
        source._look_around()
        return source._torn

    list(source._walk())
    assert not wants_a_walk()
    kernel.widened = _now()
    assert wants_a_walk()
    list(source._walk())
    assert wants_a_walk()  # that may have been before the name was there
    source._walk_ns = kernel.widened + _WIDENED_NS
    source._torn = False
    assert not wants_a_walk()


def test_the_header_says_how_long_a_new_name_may_take() -> None:
    assert f"#define WIDENED_NS {_WIDENED_NS}ULL" in (probes_directory() / "record.h").read_text()


def test_a_pid_of_another_namespace_is_translated(
    live: tuple[EbpfSource, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, kernel = live
    own = os.getpid()
    kernel.processes[own, True] = (4711, "us")
    select(source, monkeypatch, Selection(pids=(own,), contexts=("binder",)), inner=True)
    source._filter.set(source._probes)
    assert kernel.owners == [4711]
    assert source._filter.to_dict() == {"pid": ["4711"], "nspid": [str(own)], "context": ["binder"]}
    assert source.scope() == Scope(pids=(4711,), contexts=("binder",), complete=False)
    source._filter.close()


def test_one_that_comes_later_is_translated_then(
    walking: tuple[EbpfSource, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, kernel = walking
    own = os.getpid()
    select(source, monkeypatch, Selection(pids=(own,)), wait=True, inner=True)
    source._filter.set(source._probes)
    assert kernel.owners == []
    assert source._filter.to_dict() == {"nspid": [str(own)]}
    kernel.processes[own, True] = (4711, "us")
    kernel.walk = []
    walks = kernel.walks
    coming = source.batches()
    for _ in range(4):
        next(coming)
    assert kernel.owners == [4711]
    assert source._torn or kernel.walks > walks + 1
    source._filter.close()


def test_the_pid_of_one_that_ended_is_nobodys(live: tuple[EbpfSource, Kernel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("binder_observe.sources.filter._LEAVE_S", 0)
    source, kernel = live
    with subprocess.Popen(["sleep", "100"]) as child:
        select(source, monkeypatch, Selection(pids=(os.getpid(), child.pid)), wait=True)
        source._filter.set(source._probes)
        source._look_around()
        assert kernel.owners == [os.getpid(), child.pid]
        child.kill()
    source._look_around()
    assert kernel.owners == [os.getpid()]
    assert source.scope() == Scope(pids=(os.getpid(),), complete=False)
    source._filter.close()


def test_a_pid_that_cannot_be_translated_is_refused(
    live: tuple[EbpfSource, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = live
    own = os.getpid()
    select(source, monkeypatch, Selection(pids=(own,)), inner=True)
    with pytest.raises(UnsupportedError, match=f"which process {own} is outside of it cannot be told"):
        source._filter.set(source._probes)
    source._filter.close()


def test_senders_have_the_names_of_the_initial_namespace_or_none(
    live: tuple[EbpfSource, Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, kernel = live
    select(source, monkeypatch, Selection(), inner=True)
    kernel.processes = {(7, False): (7, "outside"), (8, True): (7000, "a wrong one")}
    found = batch(source, record(1, Kind.MMAP, 1, 254, 100), record(2, Kind.ALLOC_PAGE_START, task=7))
    assert ("PROCESS", 0, 0, 7, "outside") in rows(found)
    found = batch(source, record(3, Kind.ALLOC_PAGE_START, task=8))
    assert [kind for kind, *_ in rows(found)] == ["ALLOC_PAGE_START"]


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

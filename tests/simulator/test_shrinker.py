"""The shrinker: order of its events and of the LRU, every way out, how far a walk goes, and who calls it."""

from __future__ import annotations

import pytest

from binder_observe.simulator.faults import Faults
from binder_observe.simulator.mm import Vma, mmput_async, munmap
from binder_observe.simulator.shrinker import binder_shrink_count, binder_shrink_scan
from binder_observe.simulator.trace import Task
from binder_observe.simulator.vmscan import do_shrink_slab, drop_slab, try_to_free_pages
from tests.simulator.model import ALL, PAGE, SPLIT, Machine, install, pair, reuse

UNMAP_USER_FIRST = ("UNMAP_USER", "UNMAP_KERNEL")
UNMAP_KERNEL_FIRST = ("UNMAP_KERNEL", "UNMAP_USER")


def with_parked(generation: str, pages: int) -> Machine:
    machine = Machine(generation)
    machine.free(machine.new(pages * PAGE))
    machine.events()
    return machine


def scan(machine: Machine, nr_to_scan: int) -> int:
    return machine.run(binder_shrink_scan(machine.kernel, nr_to_scan))


@pytest.mark.parametrize("generation", ALL)
def test_reclaim_goes_from_the_oldest(generation: str) -> None:
    machine = with_parked(generation, 3)
    assert binder_shrink_count(machine.kernel) == 3
    assert scan(machine, 2) == 2
    order = UNMAP_USER_FIRST if generation == "6.1" else UNMAP_KERNEL_FIRST
    pages = (2, 1) if generation == "6.1" else (0, 1)  # parked highest first, lowest first
    assert machine.events() == [event for page in pages for kind in order for event in pair(kind, page)]
    assert machine.alloc.stats()[:2] == (0, 1)
    assert machine.kernel.memory.pages_freed == 2
    machine.kernel.check_conservation()
    machine.new(3 * PAGE)
    left = 0 if generation == "6.1" else 2
    missing = [page for page in range(3) if page != left]
    if generation == "6.1":
        assert machine.events() == [*reuse(0), *install(1, 2)]
    else:
        assert machine.events() == [*reuse(left), *install(*missing)]


@pytest.mark.parametrize("generation", ALL)
def test_the_freelist_is_of_all_processes(generation: str) -> None:
    machine = Machine(generation)
    other = machine.map(8, Task(300, 300, "other"))
    first = machine.new(PAGE)
    second = machine.new(PAGE, alloc=other)
    machine.free(second, alloc=other)
    machine.free(first)
    machine.events()
    assert scan(machine, 1) == 1
    assert machine.states(other)[0] == "."
    assert machine.states()[0] == "L"


@pytest.mark.parametrize("generation", ALL)
def test_after_munmap_pages_go_without_unmap_user(generation: str) -> None:
    machine = with_parked(generation, 2)
    machine.run(munmap(machine.alloc))
    assert machine.alloc.stats() == (0, 0, 0, 2), "the kernel prints nothing of an unmapped alloc"
    assert scan(machine, 10) == 2
    pages = (1, 0) if generation == "6.1" else (0, 1)
    assert machine.events() == pair("UNMAP_KERNEL", *pages)


@pytest.mark.parametrize("generation", ALL)
def test_skip_when_the_mm_is_gone(generation: str) -> None:
    machine = with_parked(generation, 2)
    mmput_async(machine.alloc.mm)
    assert machine.alloc.mm.users == 0
    assert scan(machine, 10) == 0
    pages = (1, 0) if generation == "6.1" else (0, 1)
    assert machine.skips() == [("LRU_SKIP_MM_GONE", page) for page in pages]
    assert machine.states()[:2] == "LL"


@pytest.mark.parametrize("generation", ALL)
def test_skip_when_the_alloc_is_locked(generation: str) -> None:
    machine = with_parked(generation, 2)
    assert machine.alloc.lock.trylock()
    assert scan(machine, 10) == 0
    assert {kind for kind, _ in machine.skips()} == {"LRU_SKIP_ALLOC_LOCK"}
    machine.alloc.lock.unlock()
    assert not machine.alloc.mm.mmap_lock.readers
    assert machine.alloc.mm.users == 1
    assert scan(machine, 10) == 2


@pytest.mark.parametrize("generation", ALL)
def test_skip_when_the_mm_is_locked(generation: str) -> None:
    """Since 6.14 a held mmap lock matters only where there is no VMA lock to be had."""
    machine = with_parked(generation, 2)
    vma = machine.alloc.vma
    assert vma is not None
    machine.alloc.mm.mmap_lock.writer = True
    if generation == "6.14":
        assert scan(machine, 1) == 1
        vma.lock.writer = True
    assert scan(machine, 10) == 0
    assert {kind for kind, _ in machine.skips()} == {"LRU_SKIP_MMAP_LOCK"}
    machine.alloc.mm.mmap_lock.writer = vma.lock.writer = False
    assert scan(machine, 10) >= 1
    assert not machine.alloc.lock.held


@pytest.mark.parametrize("generation", ALL)
def test_skip_when_another_mapping_lies_there(generation: str) -> None:
    machine = with_parked(generation, 2)
    machine.run(munmap(machine.alloc))
    machine.alloc.vma = Vma(machine.kernel.scheduler)
    assert scan(machine, 10) == 0
    assert {kind for kind, _ in machine.skips()} == {"LRU_SKIP_OTHER"}
    assert not machine.alloc.lock.held
    assert not machine.alloc.mm.mmap_lock.readers


@pytest.mark.parametrize("generation", ALL)
@pytest.mark.parametrize("fault", ["mm_gone", "mmap_trylock", "alloc_trylock", "invalid_vma"])
def test_injected_skips_leave_no_lock_and_a_reason(generation: str, fault: str) -> None:
    machine = with_parked(generation, 3)
    machine.kernel.faults = Faults()
    machine.kernel.faults.arm(fault, moments=[0])
    first, second = (2, 1) if generation == "6.1" else (0, 1)
    assert scan(machine, 2) == 1
    reasons = {"mm_gone": "MM_GONE", "mmap_trylock": "MMAP_LOCK", "alloc_trylock": "ALLOC_LOCK", "invalid_vma": "OTHER"}
    assert machine.skips() == [(f"LRU_SKIP_{reasons[fault]}", first)]
    assert machine.states()[first] == "L", "skipped"
    assert machine.states()[second] == ".", "the walk went on to the next"
    assert not machine.alloc.lock.held
    assert machine.alloc.mm.users == 1
    assert not machine.alloc.mm.mmap_lock.readers
    assert scan(machine, 10) == 2
    machine.kernel.check_conservation()


def test_each_removal_sends_the_walk_back_to_those_it_skipped() -> None:
    """LRU_REMOVED_RETRY restarts at the oldest page, so each page skipped there costs a look for each page taken."""
    machine = Machine()
    gone = machine.map(4, Task(300, 300, "gone"))
    machine.free(machine.new(2 * PAGE, alloc=gone), alloc=gone)
    machine.free(machine.new(5 * PAGE))
    mmput_async(gone.mm)
    assert scan(machine, 8) == 2  # skip, skip, take; skip, skip, take; skip, skip
    assert scan(machine, 2) == 0
    assert machine.run(drop_slab(machine.kernel)) == 3


def test_do_shrink_slab_counts() -> None:
    machine = with_parked("6.14", 20)
    kernel = machine.kernel
    assert machine.run(do_shrink_slab(kernel, 12)) == 0, "20 >> 12 is nothing to look at"
    assert kernel.nr_deferred == 0
    assert machine.run(do_shrink_slab(kernel, 2)) == 0, "20 >> 2, twice that, is less than all: deferred"
    assert kernel.nr_deferred == 10
    assert machine.run(do_shrink_slab(kernel, 1)) == 20, "half of it, twice that, and of the deferred: all"
    assert machine.run(do_shrink_slab(kernel, 0)) == 0


@pytest.mark.parametrize("generation", ALL)
def test_direct_reclaim_before_there_is_no_page(generation: str) -> None:
    machine = with_parked(generation, 20)
    memory = machine.kernel.memory
    memory.limit(40)
    memory.free_pages = 2
    assert machine.run(try_to_free_pages(machine.kernel)) == 20
    assert memory.free_pages == 22


@pytest.mark.parametrize("generation", ALL)
def test_who_allocates_under_a_lock_cannot_reclaim_its_own(generation: str) -> None:
    """A sender short of memory reclaims with what it has locked: up to 6.7 the alloc (and the mm, for writing), to 6.13
    the mm. Since 6.14 nothing, so the pages parked in the very same mapping can be taken back.
    """
    machine = Machine(generation)
    parked = machine.new(8 * PAGE)
    keep = machine.new(PAGE)
    machine.free(parked)
    machine.events()
    memory = machine.kernel.memory
    memory.limit(40)
    memory.free_pages = 0
    buffer = machine.try_new(20 * PAGE)  # in the untouched rest
    reclaimed = sum(kind == "UNMAP_KERNEL_START" for kind, _ in machine.events())
    assert buffer == -12, "8 pages are not enough"
    assert reclaimed == (8 if generation == "6.14" else 0)
    machine.free(keep)
    machine.kernel.check_conservation()


@pytest.mark.parametrize("generation", SPLIT)
def test_zap_forgets_the_page_table_entry(generation: str) -> None:
    machine = with_parked(generation, 1)
    vma = machine.alloc.vma
    assert vma is not None
    assert list(vma.ptes) == [0]
    scan(machine, 1)
    assert not vma.ptes

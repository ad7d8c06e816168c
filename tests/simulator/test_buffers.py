"""Buffers: sizes, best fit, splitting, merging, async space, one-way spam."""

from __future__ import annotations

from errno import EINVAL, ENOSPC, EPERM, ESRCH
from itertools import pairwise
from random import Random

import pytest

from binder_observe.simulator.buffers import (
    SIZE_MAX,
    BinderBuffer,
    binder_alloc_new_buf,
    binder_alloc_prepare_to_free,
    sanitized_size,
)
from binder_observe.simulator.faults import Faults
from binder_observe.simulator.mm import munmap
from binder_observe.simulator.trace import Task
from tests.simulator.model import ALL, OWNER, PAGE, SENDER, SPLIT, Machine, install

MIB = 1 << 20


@pytest.mark.parametrize(
    ("data", "offsets", "extra", "total"),
    [
        (0, 0, 0, 8),
        (1, 0, 0, 8),
        (8, 0, 0, 8),
        (9, 0, 0, 16),
        (1, 1, 1, 24),
        (100, 16, 8, 128),
        (SIZE_MAX, 0, 0, 0),
        (SIZE_MAX - 7, 8, 0, 0),
        (8, 0, SIZE_MAX - 7, 0),
    ],
)
def test_sanitized_size(data: int, offsets: int, extra: int, total: int) -> None:
    assert sanitized_size(data, offsets, extra) == total


@pytest.mark.parametrize("generation", ALL)
def test_refusals(generation: str) -> None:
    machine = Machine(generation, pages=4)
    assert machine.run(binder_alloc_new_buf(machine.alloc, SIZE_MAX, 0, 0, False)) == -EINVAL
    assert machine.try_new(4 * PAGE + 1) == -ENOSPC
    assert machine.events() == []
    machine.run(munmap(machine.alloc))
    assert machine.try_new(8) == -ESRCH
    assert machine.events() == []


@pytest.mark.parametrize("generation", ALL)
def test_split_and_merge(generation: str) -> None:
    machine = Machine(generation, pages=4)
    whole = 4 * PAGE
    a, b, c = machine.new(100), machine.new(5000), machine.new(0)
    assert machine.buffers() == [
        (0, 104, False),
        (104, 5000, False),
        (5104, 8, False),
        (5112, whole - 5112, True),
    ]
    machine.free(b)
    assert machine.buffers()[1] == (104, 5000, True)
    machine.free(c)
    assert machine.buffers() == [(0, 104, False), (104, whole - 104, True)]
    machine.free(a)
    assert machine.buffers() == [(0, whole, True)]
    exact = machine.new(whole)
    assert machine.buffers() == [(0, whole, False)]
    machine.free(exact)
    machine.kernel.check_conservation()


def test_best_fit_is_the_smallest_that_holds() -> None:
    machine = Machine(pages=16)
    sizes = (3000, 800, 2000, 900, 5000)
    held = []
    kept = []
    for size in sizes:
        held.append(machine.new(size))
        kept.append(machine.new(8))
    machine.free(*held)
    assert machine.new(880).user_data == held[3].user_data
    assert machine.new(800).user_data == held[1].user_data
    assert machine.new(801).user_data == held[2].user_data


def test_among_equal_buffers_the_shape_of_the_tree_decides() -> None:
    """Seven holes of one size in two orders of freeing: a kernel does not take the same one, and never by address."""

    def taken(order: list[int]) -> int:
        machine = Machine(pages=16)
        held = []
        for _ in range(7):
            held.append(machine.new(256))
            machine.new(8)
        machine.free(*(held[i] for i in order))
        return machine.new(256).user_data // 264

    # The walk stops at the first exact match: the hole nearest to the root.
    assert taken([0, 1, 2, 3, 4, 5, 6]) == 3
    assert taken([6, 5, 4, 3, 2, 1, 0]) == 3
    assert taken([3, 0, 1, 2, 4, 5, 6]) == 2


@pytest.mark.parametrize("generation", ALL)
def test_best_fit_and_lists_hold_under_random_use(generation: str) -> None:
    machine = Machine(generation, pages=64)
    random = Random(7)
    held: list[BinderBuffer] = []
    for _ in range(1500):
        if held and random.random() < 0.5:
            machine.free(held.pop(int(random.random() * len(held))))
        else:
            size = int(2 ** (3 + 11 * random.random()))
            free = [b for b in machine.buffers() if b[2] and b[1] >= size]
            buffer = machine.try_new(size)
            if isinstance(buffer, int):
                assert not free
                continue
            rounded = max((size + 7) & ~7, 8)
            assert min(b[1] for b in free if b[1] >= rounded) == next(b[1] for b in free if b[0] == buffer.user_data)
            held.append(buffer)
        listed = machine.buffers()
        assert sum(size for _, size, _ in listed) == 64 * PAGE
        assert not any(a[2] and b[2] for a, b in pairwise(listed)), "free neighbours"
        assert sorted(machine.alloc.allocated_buffers) == [at for at, _, free in listed if not free]
    machine.kernel.check_conservation()


@pytest.mark.parametrize("generation", ALL)
def test_async_space_is_half_the_mapping(generation: str) -> None:
    machine = Machine(generation, pages=4)
    alloc = machine.alloc
    assert alloc.free_async_space == 2 * PAGE
    first = machine.new(2 * PAGE - 8, is_async=True)
    assert alloc.free_async_space == 8
    assert machine.try_new(9, is_async=True) == -ENOSPC
    sync = machine.new(9)
    assert alloc.free_async_space == 8
    second = machine.new(0, is_async=True)
    assert alloc.free_async_space == 0
    machine.free(first, sync)
    assert alloc.free_async_space == 2 * PAGE - 8
    machine.free(second)
    assert alloc.free_async_space == 2 * PAGE


@pytest.mark.parametrize("generation", ALL)
def test_one_way_spam_is_flagged_once(generation: str) -> None:
    machine = Machine(generation, pages=100)
    alloc = machine.alloc
    size = 10 * PAGE  # of 100 pages; async space is 50, a spammer holds more than 25, below 10 free
    buffers = [machine.new(size, is_async=True) for _ in range(4)]
    assert not any(buffer.oneway_spam_suspect for buffer in buffers)
    assert alloc.free_async_space == 10 * PAGE
    flagged = machine.new(PAGE, is_async=True)
    assert flagged.oneway_spam_suspect
    assert not machine.new(PAGE, is_async=True).oneway_spam_suspect, "once"
    machine.free(flagged, *buffers)
    machine.new(8, is_async=True)
    assert not alloc.oneway_spam_detected, "healthy again"


@pytest.mark.parametrize(("generation", "flagged_at"), [("6.1", 51), ("6.8", 52), ("6.14", 52)])
def test_spam_by_number_counts_the_new_buffer_only_up_to_6_7(generation: str, flagged_at: int) -> None:
    """Since 6.8 binder_buffer.pid is written after the count, so a fresh buffer does not count as its sender's."""
    machine = Machine(generation, pages=1000)
    for somebody in (OWNER, Task(300, 300, "third")):  # most of the async space, but nobody has half of it
        machine.kernel.trace.current = somebody
        assert not machine.new(226 * PAGE, is_async=True).oneway_spam_suspect
    machine.kernel.trace.current = SENDER
    flags = [machine.new(8, is_async=True).oneway_spam_suspect for _ in range(60)]
    assert flags.index(True) + 1 == flagged_at
    assert sum(flags) == 1


def test_user_space_frees_only_what_was_delivered_and_once() -> None:
    machine = Machine()
    buffer = machine.new(100)
    assert binder_alloc_prepare_to_free(machine.alloc, buffer.user_data) == -EPERM
    assert binder_alloc_prepare_to_free(machine.alloc, 8) is None
    buffer.allow_user_free = True
    assert binder_alloc_prepare_to_free(machine.alloc, buffer.user_data) is buffer
    assert binder_alloc_prepare_to_free(machine.alloc, buffer.user_data) == -EPERM


@pytest.mark.parametrize("generation", SPLIT)
def test_no_buffer_structure_since_6_8(generation: str) -> None:
    machine = Machine(generation)
    machine.kernel.faults = faults_at("no_buffer", 0)
    assert machine.try_new(PAGE) == -12
    assert machine.events() == []
    machine.new(PAGE)
    assert machine.events() == install(0)


def test_no_buffer_structure_up_to_6_7_parks_what_was_installed() -> None:
    machine = Machine("6.1")
    machine.kernel.faults = faults_at("no_buffer", 0)
    assert machine.try_new(2 * PAGE) == -12
    assert machine.events()[4:] == [
        ("FREE_LRU_START", 1),
        ("FREE_LRU_END", 1),
        ("FREE_LRU_START", 0),
        ("FREE_LRU_END", 0),
    ]
    assert machine.buffers() == [(0, 32 * PAGE, True)]


def faults_at(name: str, *moments: int) -> Faults:
    faults = Faults()
    faults.arm(name, moments=moments)
    return faults

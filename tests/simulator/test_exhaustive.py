"""The kernel's own exhaustive test (drivers/android/tests/binder_alloc_kunit.c; until 6.17 binder_alloc_selftest.c).

Five buffers whose ends take every combination of five alignments (3125), at the front of the mapping and at its back
(2), freed in every order (120): 750,000 cases, for each generation. A case allocates, frees, allocates again from the
LRU, frees again and reclaims; the state of each page is checked after every single step.

By default two free orders for each of the 6250 layouts run, so that all layouts and (evenly) all orders are met:
12,500 cases a generation, 37,500 in all. With BINDER_OBSERVE_EXHAUSTIVE=1 all 750,000 do, 2,250,000 in all; that takes
some ten minutes on two CPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import permutations, product
from typing import Final

import pytest

from binder_observe.simulator.alloc import FREE, LRU
from binder_observe.simulator.vmscan import drop_slab
from tests.simulator.model import ALL, PAGE, Machine

pytestmark = pytest.mark.slow

BUFFER_NUM: Final = 5
BUFFER_MIN_SIZE: Final = PAGE // 8
MAPPING_PAGES: Final = 32  # BINDER_MMAP_SIZE, SZ_128K
ORDERS: Final = tuple(permutations(range(BUFFER_NUM)))
EXHAUSTIVE: Final = bool(os.environ.get("BINDER_OBSERVE_EXHAUSTIVE"))


def end_offsets() -> Iterator[tuple[int, ...]]:
    """Ends of the five buffers: on the page of the previous end, the next or the one after, page aligned or not."""

    def ends(index: int, end: int) -> Iterator[tuple[int, ...]]:
        if index == BUFFER_NUM:
            yield ()
            return
        for align in range(5):
            end = (end + PAGE - 1) // PAGE * PAGE if align % 2 else end + BUFFER_MIN_SIZE
            for rest in ends(index + 1, end):
                yield (end, *rest)

    return ends(0, 0)


def layouts() -> Iterator[tuple[list[int], int]]:
    """Sizes of the buffers, and the end of the last one: at the front, and (in reverse) reaching to the back."""
    whole = MAPPING_PAGES * PAGE
    for ends in end_offsets():
        front = [end - start for start, end in zip((0, *ends), ends, strict=False)]
        back = front[::-1]
        back[0] += whole - ends[-1]
        yield front, ends[-1]
        yield back, whole


def check_states(machine: Machine, held: Iterable[tuple[int, int]], end: int, untouched: int) -> None:
    """Pages that a held buffer touches are active; others up to `end` are parked, or `untouched` so far."""
    used = (end + PAGE - 1) // PAGE
    expected = bytearray(MAPPING_PAGES)
    expected[:used] = bytes([untouched]) * used
    for start, size in held:
        first, after = start // PAGE, (start + size + PAGE - 1) // PAGE
        expected[first:after] = b"\1" * (after - first)
    assert machine.alloc.page_states() == expected


def allocate(machine: Machine, sizes: list[int], end: int, untouched: int) -> list[tuple[int, int]]:
    held = []
    for size in sizes:
        buffer = machine.new(size)
        held.append((buffer.user_data, size))
        check_states(machine, held, end, untouched)
    return held


def free(machine: Machine, held: list[tuple[int, int]], order: tuple[int, ...], end: int) -> None:
    left = set(held)
    for i in order:
        machine.free(machine.alloc.allocated_buffers[held[i][0]])
        left.discard(held[i])
        check_states(machine, left, end, LRU)


def run_case(machine: Machine, sizes: list[int], end: int, order: tuple[int, ...]) -> None:
    free(machine, allocate(machine, sizes, end, FREE), order, end)
    again = allocate(machine, sizes, end, LRU)
    assert machine.kernel.binder_freelist.nr_items == 0, "all of it was reused"
    free(machine, again, order, end)
    assert machine.run(drop_slab(machine.kernel)) == (end + PAGE - 1) // PAGE
    check_states(machine, (), end, FREE)
    memory = machine.kernel.memory
    assert memory.pages_allocated == memory.pages_freed
    assert memory.mdata_allocated == memory.mdata_freed
    machine.kernel.trace.take()


def run_share(generation: str, share: int, shares: int, exhaustive: bool) -> int:
    """Every `shares`th layout; how many cases those were."""
    machine = Machine(generation, pages=MAPPING_PAGES)
    cases = 0
    for number, (sizes, end) in enumerate(layouts()):
        if number % shares == share:
            chosen = ORDERS if exhaustive else (ORDERS[number % 120], ORDERS[(number * 7 + 59) % 120])
            for order in chosen:
                run_case(machine, sizes, end, order)
                cases += 1
    machine.kernel.check_conservation()
    return cases


def test_the_enumeration_is_the_kernels() -> None:
    assert len(set(end_offsets())) == 5**BUFFER_NUM
    assert len(ORDERS) == 120
    assert len(list(layouts())) * 120 == 3125 * 2 * 120  # TOTAL_EXHAUSTIVE_CASES
    assert all(sum(sizes) == end for sizes, end in layouts())


def test_every_layout_in_two_orders() -> None:
    if EXHAUSTIVE:
        pytest.skip("all of them run below")
    shares = [(generation, share) for generation, share in product(ALL, range(2))]
    with ProcessPoolExecutor(2) as pool:
        cases = sum(pool.map(run_share, *zip(*shares, strict=True), [2] * 6, [False] * 6))
    assert cases == 3 * 12_500


@pytest.mark.skipif(not EXHAUSTIVE, reason="ten minutes: BINDER_OBSERVE_EXHAUSTIVE=1")
@pytest.mark.parametrize("generation", ALL)
def test_every_layout_in_every_order(generation: str) -> None:
    shares = 8
    with ProcessPoolExecutor() as pool:
        cases = sum(pool.map(run_share, [generation] * shares, range(shares), [shares] * shares, [True] * shares))
    assert cases == 750_000

"""Pages: which ones a buffer installs, reuses and parks, in which order, and what happens when one cannot be had."""

from __future__ import annotations

from errno import ENOMEM, ESRCH
from typing import Literal

import pytest

from binder_observe.errors import ObserveError
from binder_observe.simulator.faults import FAULTS, Faults
from tests.simulator.model import ALL, PAGE, SPLIT, Event, Machine, install, park, reuse


def faults(**moments: int) -> Faults:
    armed = Faults()
    for name, moment in moments.items():
        armed.arm(name, moments=[moment])
    return armed


def parked(generation: str, *pages: int) -> list[Event]:
    """Parks of one range: up to 6.7 from its last page to its first."""
    return park(*(reversed(pages) if generation == "6.1" else pages))


@pytest.mark.parametrize("generation", ALL)
def test_a_life(generation: str) -> None:
    machine = Machine(generation)
    buffer = machine.new(3 * PAGE)
    assert machine.events() == install(0, 1, 2)
    assert machine.states()[:4] == "AAA."
    assert machine.alloc.stats() == (3, 0, 29, 3)
    machine.free(buffer)
    assert machine.events() == parked(generation, 0, 1, 2)
    assert machine.alloc.stats() == (0, 3, 29, 3)
    machine.new(2 * PAGE)
    assert machine.events() == reuse(0, 1)
    assert machine.states()[:4] == "AAL."


@pytest.mark.parametrize("generation", ALL)
def test_a_shared_page_belongs_to_both(generation: str) -> None:
    machine = Machine(generation)
    a = machine.new(PAGE + 100)
    machine.events()
    b = machine.new(PAGE)  # begins in page 1, which a has, and ends in page 2
    assert machine.events() == install(2)
    machine.free(a)
    assert machine.events() == park(0)
    assert machine.states()[:3] == "LAA"
    machine.free(b)
    # Page 2 is parked with the free buffer behind (the border lies on it), then page 1 with the one before.
    assert machine.events() == park(2, 1)
    assert machine.states()[:3] == "LLL"


@pytest.mark.parametrize("generation", ALL)
def test_a_small_buffer_between_others_has_no_page_of_its_own(generation: str) -> None:
    machine = Machine(generation)
    a, b, c = machine.new(64), machine.new(64), machine.new(64)
    assert machine.events() == install(0)
    machine.free(b)
    assert machine.events() == []
    machine.free(a, c)
    assert machine.events() == park(0)
    again = machine.new(64)
    assert machine.events() == reuse(0)
    machine.free(again)


@pytest.mark.parametrize("generation", ALL)
def test_the_last_page_is_trimmed_when_the_neighbour_has_it(generation: str) -> None:
    machine = Machine(generation)
    a = machine.new(PAGE + 512)
    machine.new(PAGE)
    machine.free(a)
    machine.events()
    machine.new(PAGE + 512)  # exactly the hole: its last page is in use already
    assert machine.events() == reuse(0)


def test_mixed_range_up_to_6_7_goes_page_by_page() -> None:
    machine = Machine("6.1")
    machine.free(machine.new(PAGE))
    machine.events()
    machine.new(3 * PAGE)
    assert machine.events() == [*reuse(0), *install(1, 2)]
    other = Machine("6.1")
    held = other.new(PAGE)
    other.free(other.new(2 * PAGE))
    other.free(held)
    other.events()
    other.new(4 * PAGE)
    assert other.events() == [*reuse(0, 1, 2), *install(3)]


@pytest.mark.parametrize("generation", SPLIT)
def test_since_6_8_reuse_comes_first(generation: str) -> None:
    machine = Machine(generation)
    held = machine.new(PAGE)
    machine.free(machine.new(PAGE))
    machine.free(held)
    machine.kernel.faults = faults(no_page=1)
    assert machine.try_new(4 * PAGE) == -ENOMEM  # page 2 is installed, page 3 is not
    machine.events()
    machine.kernel.faults = None
    machine.new(4 * PAGE)
    assert machine.events() == [*reuse(0, 1, 2), *install(3)]


@pytest.mark.parametrize(
    ("generation", "fault", "error"),
    [
        ("6.1", "no_page", ENOMEM),
        ("6.1", "insert_error", ENOMEM),
        ("6.8", "no_page", ENOMEM),
        ("6.8", "insert_error", ENOMEM),
        ("6.8", "no_vma", ESRCH),
        ("6.14", "no_page", ENOMEM),
        ("6.14", "no_metadata", ENOMEM),
        ("6.14", "insert_error", ENOMEM),
        ("6.14", "no_vma", ESRCH),
        ("6.14", "ebusy_no_winner", ESRCH),
    ],
)
def test_a_failed_install_fails_the_buffer_and_parks_the_rest(generation: str, fault: str, error: int) -> None:
    machine = Machine(generation)
    machine.free(machine.new(PAGE))
    machine.events()
    machine.kernel.faults = faults(**{fault: 2})
    assert machine.try_new(5 * PAGE) == -error
    # Page 0 is reused, 1 and 2 are installed, 3 fails, 4 is not tried.
    tried = [*reuse(0), *install(1, 2), ("ALLOC_PAGE_START", 3)]
    assert machine.events() == [*tried, *parked(generation, 0, 1, 2)]
    assert machine.states()[:5] == "LLL.."
    assert machine.buffers() == [(0, 32 * PAGE, True)]
    assert not machine.kernel.memory.in_flight
    machine.kernel.check_conservation()
    machine.new(5 * PAGE)
    assert machine.events() == [*reuse(0, 1, 2), *install(3, 4)]


@pytest.mark.parametrize(("generation", "high"), [("6.1", 2), ("6.8", 5), ("6.14", 5)])
def test_since_6_8_pages_high_counts_pages_that_never_came(generation: str, high: int) -> None:
    machine = Machine(generation)
    machine.kernel.faults = faults(no_page=2)
    assert machine.try_new(5 * PAGE) == -ENOMEM
    assert machine.alloc.stats() == (0, 2, 30, high)


def test_no_vma_up_to_6_7_is_known_before_the_first_page() -> None:
    machine = Machine("6.1")
    machine.kernel.faults = faults(no_vma=0)
    assert machine.try_new(5 * PAGE) == -ESRCH
    assert machine.events() == []


@pytest.mark.parametrize("generation", SPLIT)
def test_ebusy_with_a_winner_installs_once(generation: str) -> None:
    machine = Machine(generation)
    machine.kernel.faults = faults(ebusy=0)
    machine.new(PAGE)
    start, end = install(0)
    assert machine.events() == [start, start, end, end]
    memory = machine.kernel.memory
    given_back = 1 if generation == "6.14" else 0
    assert memory.pages_allocated == 1 + given_back
    assert memory.pages_freed == given_back
    assert memory.mdata_freed == given_back
    machine.kernel.check_conservation()


def test_metadata_is_by_the_page_only_since_6_14() -> None:
    for generation in ALL:
        machine = Machine(generation, pages=8)
        machine.new(3 * PAGE)
        memory = machine.kernel.memory
        assert memory.mdata_allocated == (3 if generation == "6.14" else 0)
        assert len(machine.alloc.lru_pages) == (0 if generation == "6.14" else 8)


@pytest.mark.parametrize("generation", ALL)
@pytest.mark.parametrize(("page_size", "pages"), [(4096, 254), (16384, 62), (65536, 14)])
def test_page_sizes(generation: str, page_size: Literal[4096, 16384, 65536], pages: int) -> None:
    machine = Machine(generation, pages=pages, page_size=page_size)
    machine.new(page_size + 8)
    assert machine.events() == install(0, 1)
    assert machine.alloc.stats() == (2, 0, pages - 2, 2)


def test_a_mapping_is_capped_at_4_mib() -> None:
    machine = Machine(pages=2000)
    assert len(machine.alloc.pages) == 1024
    assert machine.alloc.buffer_size == 4 << 20


def test_faults_by_rate_are_repeatable_and_independent() -> None:
    def strikes(*armed: str) -> list[bool]:
        made = Faults(3)
        for name in armed:
            made.arm(name, rate=0.3)
        return [made.strikes("no_page") for _ in range(50)]

    assert strikes("no_page") == strikes("no_page", "no_vma")
    assert 5 < sum(strikes("no_page")) < 30
    assert not any(strikes("no_vma"))


def test_faults_are_checked() -> None:
    with pytest.raises(ObserveError, match="there is no fault 'gremlins'"):
        Faults().arm("gremlins")
    with pytest.raises(ObserveError, match="must be from 0 to 1"):
        Faults().arm("no_page", rate=2)
    assert all(FAULTS.values())

"""Nothing leaks: at every step, under every injected failure, pages and metadata objects are where they must be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from binder_observe.simulator.buffers import BinderBuffer
from binder_observe.simulator.faults import FAULTS, Faults
from binder_observe.simulator.scenarios import load_scenario
from binder_observe.simulator.scheduler import NEVER
from binder_observe.simulator.vmscan import drop_slab
from binder_observe.sources.simulator import SimulatorSource
from tests.simulator.model import ALL, PAGE, Machine

RATES = st.dictionaries(st.sampled_from(sorted(FAULTS)), st.floats(0, 1), max_size=6)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    generation=st.sampled_from(ALL),
    rates=RATES,
    sizes=st.lists(st.integers(0, 6 * PAGE), min_size=1, max_size=30),
    choices=st.lists(st.integers(0, 99), min_size=30, max_size=30),
)
def test_alone(generation: str, rates: dict[str, float], sizes: list[int], choices: list[int]) -> None:
    machine = Machine(generation, pages=20)
    kernel = machine.kernel
    kernel.faults = Faults(len(sizes))
    for name, rate in rates.items():
        kernel.faults.arm(name, rate=rate)
    held: list[BinderBuffer] = []
    for size, choice in zip(sizes, choices, strict=False):
        if choice < 15:
            machine.run(drop_slab(kernel))
        elif held and choice < 50:
            machine.free(held.pop(choice % len(held)))
        else:
            buffer = machine.try_new(size, is_async=bool(choice % 2))
            if isinstance(buffer, BinderBuffer):
                held.append(buffer)
        kernel.check_conservation()
        assert not kernel.memory.in_flight
        assert not machine.alloc.lock.held
    machine.free(*held)
    assert machine.alloc.page_counts()[0] == 0
    assert machine.alloc.free_async_space == 10 * PAGE
    kernel.faults = None
    machine.run(drop_slab(kernel))
    memory = kernel.memory
    assert memory.pages_allocated == memory.pages_freed
    assert memory.mdata_allocated == memory.mdata_freed


@pytest.mark.parametrize("generation", ALL)
@pytest.mark.parametrize("name", ["out-of-memory", "racing-installers", "churn"])
def test_among_threads_at_every_step(name: str, generation: Any) -> None:
    source = SimulatorSource(load_scenario(name), generation=generation, seed=5)
    kernel = source.kernel
    steps = 0
    while steps < 400:
        # As few as a thread can run before it is overtaken.
        kernel.scheduler.run(NEVER, len(kernel.trace.log) + 1)
        kernel.check_conservation()
        steps += 1
    assert kernel.memory.pages_allocated > 0


@settings(max_examples=9, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(generation=st.sampled_from(ALL), rates=RATES, seed=st.integers(0, 1000))
def test_among_threads_under_failure(generation: Any, rates: dict[str, float], seed: int) -> None:
    source = SimulatorSource("racing-installers", generation=generation, seed=seed, duration_s=0.02)
    source.kernel.faults = Faults(seed)
    for name, rate in rates.items():
        source.kernel.faults.arm(name, rate=rate)
    for _ in source.batches():
        source.kernel.check_conservation()


def test_all_faults_can_strike() -> None:
    """Each fault has a place in the model where it strikes, in at least one generation."""
    hits: set[str] = set()
    for generation in ALL:
        for fault in FAULTS:
            machine = Machine(generation)
            machine.free(machine.new(PAGE))
            machine.kernel.faults = Faults()
            machine.kernel.faults.arm(fault, rate=1)
            machine.run(drop_slab(machine.kernel))
            machine.try_new(2 * PAGE)
            hits |= {name for name, count in machine.kernel.faults.hits.items() if count}
            machine.kernel.check_conservation()
    assert hits == set(FAULTS)

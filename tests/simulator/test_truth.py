"""The events tell the model's exact state, and every life: a tracker of a few lines, fed with the events alone, ends in
the state that the model has and with the lives that it wrote down itself.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from binder_observe.simulator.faults import FAULTS, Faults
from binder_observe.simulator.random_requests import random_requests
from binder_observe.simulator.request_runner import RequestRun, run_requests
from binder_observe.simulator.requests import parse_requests
from binder_observe.simulator.scenarios import scenario_names
from binder_observe.simulator.truth import Truth
from binder_observe.sources.simulator import SimulatorSource
from tests.simulator.model import ALL, TinyTracker

pytestmark = pytest.mark.slow

# So long, in simulated seconds, that each scenario shows what it is about.
SHORT = {"page-leak": 1.0, "racing-installers": 0.3, "reclaim-storm": 0.2, "churn": 1.0, "app-launch": 1.5}


def lives(truth: Truth) -> list[Any]:
    return [(life.alloc, life.page, life.spans, life.ended, life.end_ns) for life in truth.lives()]


def check_run(run: RequestRun) -> TinyTracker:
    tracker = TinyTracker().feed([run.events])
    assert run.truth is not None
    live = {number: bytes(states) for number, states in tracker.states.items()}
    assert live == {alloc.number: alloc.page_states() for alloc in run.kernel.allocs.values()}
    assert {**tracker.released, **live} == {number: states for number, (states, _) in run.final.items()}
    assert tracker.all_lives() == lives(run.truth)
    run.kernel.check_conservation()
    assert not run.kernel.memory.in_flight
    return tracker


@pytest.mark.parametrize("generation", ALL)
@pytest.mark.parametrize("scenario", scenario_names())
def test_every_scenario(scenario: str, generation: Any) -> None:
    source = SimulatorSource(scenario, generation=generation, duration_s=SHORT.get(scenario, 0.5), truth=True)
    tracker = TinyTracker().feed(source.batches())
    assert source.truth is not None
    states = {alloc.number: alloc.page_states() for alloc in source.kernel.allocs.values()}
    seen = {number: bytes(states) for number, states in tracker.states.items()}
    # An install can be under way in the end: the page is there, and its ALLOC_PAGE_END is not.
    announced = {(life.alloc, life.page) for life in source.truth.lives() if life.ended == "alive"}
    for number, bytes_ in states.items():
        known = bytes(state if (number, page) in announced else 0 for page, state in enumerate(bytes_))
        assert seen[number] == known
    assert seen.keys() == states.keys()
    assert tracker.released == {number: states for number, (states, _) in source.truth.final.items()}
    assert tracker.all_lives() == lives(source.truth)
    source.kernel.check_conservation()
    if generation == "6.1":
        assert tracker.duplicates == 0
    elif scenario == "racing-installers":
        assert tracker.duplicates > 0


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32), n=st.integers(10, 120), generation=st.sampled_from(ALL))
def test_random_requests(seed: int, n: int, generation: str) -> None:
    run = run_requests(parse_requests(random_requests(seed, n)), generation=generation, truth=True)
    tracker = check_run(run)
    assert tracker.duplicates == 0, "nobody races alone"
    assert not tracker.states, "the list closes everything"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 1 << 32),
    generation=st.sampled_from(ALL),
    rates=st.dictionaries(st.sampled_from(sorted(FAULTS)), st.floats(0, 0.5), max_size=5),
)
def test_random_requests_under_failure(seed: int, generation: str, rates: dict[str, float]) -> None:
    faults = Faults(seed)
    for name, rate in rates.items():
        faults.arm(name, rate=rate)
    requests = parse_requests(random_requests(seed, 60))
    check_run(run_requests(requests, generation=generation, faults=faults, truth=True))


@pytest.mark.parametrize("generation", ALL)
def test_a_flood(generation: str) -> None:
    text = """
        open server binder
        open a binder
        open b binder
        flood binder senders=a,b threads=3 count=30 min=0 max=9000 mode=mixed seed=1 hold=5
        reclaim
        flood binder senders=a,b threads=4 count=30 min=0 max=300 mode=oneway seed=2
        checkpoint end
    """
    run = run_requests(parse_requests(text), generation=generation, truth=True)
    check_run(run)
    first, second = (entry for entry in run.log if "flood" in entry["request"])
    assert first["sent"] == first["sync"] + first["oneway"] == 2 * 3 * 30
    assert second["sent"] == second["oneway"] == 2 * 4 * 30
    assert not first["failed"] + second["failed"]
    _, _, stats = run.checkpoints[0].stats[0]
    assert stats[0] == 0, "everything was freed"

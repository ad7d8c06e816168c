"""The tracker, fed with events alone, against what the simulator's model knows of every page."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from binder_observe.events import EventBatch
from binder_observe.rows import Began, Ended
from binder_observe.simulator.faults import FAULTS, Faults
from binder_observe.simulator.random_requests import random_requests
from binder_observe.simulator.request_runner import run_requests
from binder_observe.simulator.requests import parse_requests
from binder_observe.simulator.scenarios import scenario_names
from binder_observe.simulator.truth import Life, Truth
from binder_observe.sources import Generation
from binder_observe.sources.simulator import SimulatorSource
from binder_observe.tracker import AllocState, PageTracker
from tests.build import all_states

pytestmark = pytest.mark.slow

GENERATIONS: tuple[Generation, ...] = ("6.1", "6.8", "6.14")
SHORT = {"page-leak": 1.0, "racing-installers": 0.3, "reclaim-storm": 0.2, "churn": 1.0, "app-launch": 1.5}

# alloc, page, how it ended, birth, end, active, lru, reuses
Row = tuple[int, int, str, int, int, int, int, int]


def known(life: Life, end_ns: int) -> Row:
    end = end_ns if life.end_ns is None else life.end_ns
    times = [ts for _, ts in life.spans] + [end]
    spent = {"active": 0, "lru": 0}
    for (state, since), until in zip(life.spans, times[1:], strict=True):
        spent[state] += until - since
    return (
        life.alloc, life.page, life.ended, life.birth_ns, end, spent["active"], spent["lru"], life.reuses,
    )  # fmt: skip


def track(batches: Iterable[EventBatch]) -> tuple[PageTracker, list[AllocState], list[Row]]:
    tracker = PageTracker()
    done = [tracker.update(batch) for batch in batches]
    lives = np.concatenate([*(d.lives for d in done), tracker.alive()])
    assert (lives["began"] == Began.INSTALLED).all()
    columns = ("alloc", "page", "ended", "birth_ns", "end_ns", "active_ns", "lru_ns", "reuses")
    rows = [(a, p, Ended(e).name.lower(), *rest) for a, p, e, *rest in lives[list(columns)].tolist()]
    return tracker, all_states(tracker, *done), sorted(rows)


def check(tracker: PageTracker, states: list[AllocState], lives: list[Row], truth: Truth) -> None:
    assert tracker.unexplained() == {}
    assert lives == sorted(known(life, tracker.end_ns) for life in truth.lives())
    released = {state.alloc: state for state in states if state.released}
    assert set(released) == set(truth.final)
    for number, (pages, _) in truth.final.items():
        counts = np.bincount(np.frombuffer(pages, dtype=np.uint8), minlength=3)
        state = released[number]
        assert (state.free, state.active, state.lru, state.unknown) == (*counts.tolist(), 0)


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("scenario", scenario_names())
def test_every_scenario(scenario: str, generation: Generation) -> None:
    source = SimulatorSource(scenario, generation=generation, duration_s=SHORT.get(scenario, 0.5), truth=True)
    tracker, known_states, lives = track(source.batches())
    assert source.truth is not None
    check(tracker, known_states, lives, source.truth)
    announced = {(life.alloc, life.page) for life in source.truth.lives() if life.ended == "alive"}
    for alloc in source.kernel.allocs.values():
        # an install may be under way in the end: the page is there, and its ALLOC_PAGE_END is not
        states = [s if (alloc.number, page) in announced else 0 for page, s in enumerate(alloc.page_states())]
        assert tracker.page_states(alloc.number).tolist() == states


@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 32), st.integers(10, 80), st.sampled_from(GENERATIONS))
def test_random_requests(seed: int, n: int, generation: Generation) -> None:
    run = run_requests(parse_requests(random_requests(seed, n)), generation=generation, truth=True)
    tracker, states, lives = track([run.events])
    assert run.truth is not None
    check(tracker, states, lives, run.truth)
    for state in states:
        assert state.high_watermark == run.final[state.alloc][1]
        assert state.duplicate_installs == state.failed_installs == state.installs_in_flight == 0


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 1 << 32),
    st.sampled_from(GENERATIONS),
    st.dictionaries(st.sampled_from(sorted(FAULTS)), st.floats(0, 0.5), max_size=5),
)
def test_random_requests_under_failure(seed: int, generation: Generation, rates: dict[str, float]) -> None:
    faults = Faults(seed)
    for name, rate in rates.items():
        faults.arm(name, rate=rate)
    run = run_requests(parse_requests(random_requests(seed, 60)), generation=generation, faults=faults, truth=True)
    tracker, states, lives = track([run.events])
    assert run.truth is not None
    check(tracker, states, lives, run.truth)
    failed = sum(state.failed_installs for state in states)
    starts, ends = (int((run.events.kind == kind).sum()) for kind in (1, 2))
    assert failed == starts - ends

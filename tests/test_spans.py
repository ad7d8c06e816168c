"""Spans, lives and attempts that the tracker writes down: against a replay of each page, against its own counts for
any events, and against the simulator's truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray

from binder_observe.events import EventBatch, Kind, from_rows
from binder_observe.history import History, collect
from binder_observe.rows import Began, Ended, Outcome, State
from binder_observe.sources.simulator import SimulatorSource
from binder_observe.tracker import AllocState
from tests.build import META, OWNER, attach, batch, found, install, mapped, park, row
from tests.frames.brute import replay
from tests.frames.recordings import recordings
from tests.test_tracker import _EVENTS, _rows

_SNAPSHOTS = (Kind.SNAPSHOT_FREE, Kind.SNAPSHOT_ACTIVE, Kind.SNAPSHOT_LRU)


def check_books(h: History) -> None:
    """What spans and attempts add up to, whatever the events were."""
    length = h.spans["until_ns"] - h.spans["since_ns"]
    assert (length >= 0).all()
    for s in h.allocs:
        mine = h.spans["alloc"] == s.alloc
        assert set(h.spans["page"][mine].tolist()) == set(range(s.mapping_pages))
        for page in range(s.mapping_pages):
            check_page(s, h.spans[mine & (h.spans["page"] == page)])
        lives = h.lives[h.lives["alloc"] == s.alloc]
        for state, column in ((State.ACTIVE, "active_ns"), (State.LRU, "lru_ns")):
            total = length[mine & (h.spans["state"] == state)].sum()
            assert total == getattr(s, column) == lives[column].sum()
        began, ended = h.spans["began"][mine], h.spans["ended"][mine]
        last = (ended == Kind.RELEASE_END) | (ended == Kind.DETACH)
        counts = np.bincount(h.spans["state"][mine][last], minlength=len(State))
        assert counts.tolist() == [s.free, s.active, s.lru, s.unknown]
        assert (began == Kind.ALLOC_PAGE_END).sum() == s.installs
        assert ((began == Kind.UNMAP_KERNEL_START) & (ended == Kind.ALLOC_PAGE_END)).sum() == s.refaults
        outcomes = np.bincount(h.installs["outcome"][h.installs["alloc"] == s.alloc], minlength=len(Outcome))
        others = [s.duplicate_installs, s.failed_installs, s.installs_in_flight]
        assert outcomes.tolist() == [s.installs, *others]


def check_page(alloc: AllocState, spans: NDArray[np.void]) -> None:
    """Rows are in order of their ends, so each begins where the one before it ended, by the same event."""
    assert spans["since_ns"][0] == alloc.first_ns
    assert spans["since_ns"][1:].tolist() == spans["until_ns"][:-1].tolist()
    assert spans["until_ns"][-1] == alloc.until_ns
    told = np.isin(spans["began"][1:], _SNAPSHOTS) & (spans["ended"][:-1] == Kind.LOST)
    assert ((spans["began"][1:] == spans["ended"][:-1]) | told).all()
    assert spans["starter"][1:].tolist() == spans["ender"][:-1].tolist()
    assert spans["ended"][-1] == (Kind.RELEASE_END if alloc.released else Kind.DETACH)


@given(_EVENTS)
def test_any_events_keep_the_books(events: list[tuple[Kind, int, int, int]]) -> None:
    # what comes after the end of the observation is not observed
    check_books(collect(META, [from_rows([r for r in _rows(events) if r[1] != Kind.DETACH])]))


Row = tuple[int, int, int, int, str, str, str, int, int]


def span_rows(h: History) -> list[Row]:
    return sorted(
        (a, p, since, until, *(e.name.lower() for e in (State(state), Kind(began), Kind(ended))), starter, ender)
        for a, p, state, began, ended, since, until, starter, ender in h.spans.tolist()
    )


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(recordings())
def test_legal_recordings(events: EventBatch) -> None:
    """Against `tests.frames.brute`, which works page by page and knows nothing of the tracker."""
    h = collect(META, [events])
    assert h.report.unexplained == {}
    check_books(h)
    expected = replay(events)
    assert span_rows(h) == sorted(
        (s.alloc, s.page, s.since_ns, s.until_ns, s.state, s.began, s.ended, s.starter or 0, s.ender or 0)
        for s in expected.spans
    )
    assert sorted(h.lives.tolist()) == sorted(
        (v.alloc, v.page, Began[v.began.upper()], Ended[v.ended.upper()], v.observed_ns, v.end_ns, v.active_ns,
         v.lru_ns, v.reuses, v.sender or 0, v.ender or 0)
        for v in expected.lives
    )  # fmt: skip
    assert sorted(h.installs.tolist()) == sorted(
        (a.alloc, a.page, Outcome[a.outcome.upper()], -1 if a.start_ns is None else a.start_ns, a.end_ns, a.tgid, a.tid)
        for a in expected.attempts
    )
    assert (h.begin_ns, h.end_ns, h.comms) == (expected.begin_ns, expected.end_ns, expected.comms)


def test_a_gap_is_none_of_allocs_that_come_after_it() -> None:
    """Even if one batch holds both."""
    h = collect(META, [batch(attach(), mapped(1), row(5, Kind.LOST, 3, alloc=0), mapped(1, ts=7, alloc=2), row(
        9, Kind.DETACH, alloc=0))])  # fmt: skip
    assert span_rows(h) == [
        (1, 0, 0, 0, "free", "mmap", "lost", 0, 0),
        (1, 0, 0, 9, "unknown", "lost", "detach", 0, 0),
        (2, 0, 7, 9, "free", "mmap", "detach", 0, 0),
    ]


def test_what_is_learned_after_a_gap_began_after_the_gap() -> None:
    h = collect(META, [batch(attach(), found(1), row(5, Kind.LOST, 3), park(7), row(9, Kind.DETACH, alloc=0))])
    assert span_rows(h) == [
        (1, 0, 0, 5, "unknown", "alloc", "lost", 0, 0),
        (1, 0, 5, 7, "active", "lost", "free_lru_start", 0, OWNER),
        (1, 0, 7, 9, "lru", "free_lru_start", "detach", OWNER, 0),
    ]


def test_a_second_description_says_nothing() -> None:
    h = collect(META, [batch(attach(), mapped(1), install(5), mapped(1, ts=7), found(1, ts=8), row(
        9, Kind.DETACH, alloc=0))])  # fmt: skip
    check_books(h)


SCENARIOS = {"memory-pressure": 1.0, "racing-installers": 0.2, "churn": 1.5, "out-of-memory": 0.5}


@pytest.mark.parametrize(("scenario", "duration_s"), SCENARIOS.items())
def test_the_simulator_agrees(scenario: str, duration_s: float) -> None:
    source = SimulatorSource(scenario, duration_s=duration_s, truth=True)
    h = collect(source.meta, source.batches())
    assert source.truth is not None
    held = h.spans[(h.spans["state"] == State.ACTIVE) | (h.spans["state"] == State.LRU)]
    seen = held[["alloc", "page", "since_ns", "until_ns", "state"]].tolist()
    known = []
    for life in source.truth.lives():
        times = [since for _, since in life.spans] + [h.end_ns if life.end_ns is None else life.end_ns]
        for (state, since), until in zip(life.spans, times[1:], strict=True):
            known.append((life.alloc, life.page, since, until, State[state.upper()]))
    assert sorted(seen) == sorted(known)
    for alloc in h.allocs:
        assert (h.spans["until_ns"] - h.spans["since_ns"])[h.spans["alloc"] == alloc.alloc].sum() == (
            alloc.mapping_pages * (alloc.until_ns - alloc.first_ns)
        )

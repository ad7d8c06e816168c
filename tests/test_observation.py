"""One pass over a source: its figures against brute force over the tracker's rows, and however the events are cut."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binder_observe.analysis.summary import Report, summarize
from binder_observe.events import EventBatch, Kind, from_rows
from binder_observe.lifetimes import Quantiles, reclaims
from binder_observe.lifetimes.counts import Measure
from binder_observe.observation import Observation
from binder_observe.rows import Began, Ended, Outcome, State
from binder_observe.sources.simulator import SimulatorSource
from binder_observe.tracker import Finished, PageTracker
from tests.build import META, SHRINKER, Row, attach, batch, found, install, mapped, park, reclaim, release, reuse, row
from tests.test_lifetimes import brute_force

# All durations in these lists are under 128 ns, so that quantiles are exact.
_EVENTS = st.lists(
    st.tuples(
        st.sampled_from([k for k in Kind if k not in (Kind.ALLOC, Kind.MMAP, Kind.ATTACH, Kind.DETACH)]),
        st.integers(0, 2),  # alloc
        st.integers(0, 2),  # page
        st.integers(1, 3),  # task
    ),
    max_size=60,
)


def events(rows: list[tuple[Kind, int, int, int]]) -> EventBatch:
    first = [
        attach(), mapped(3, alloc=1), found(3, alloc=2),
        row(0, Kind.PROCESS, task=3, alloc=0, name="kswapd0"), row(0, Kind.PROCESS, task=2, alloc=0, name="sender"),
    ]  # fmt: skip
    return from_rows(first + [row(1 + i, k, page, alloc=a, task=task) for i, (k, a, page, task) in enumerate(rows)])


def observed(*batches: EventBatch) -> Report:
    observation = Observation(META)
    for one in batches:
        observation.feed(one)
    return summarize(observation)


def everything(events: EventBatch) -> Finished:
    """Every row of the tracker, what goes on at the end included."""
    tracker = PageTracker()
    done = tracker.update(events)
    return Finished(
        np.concatenate([done.lives, tracker.alive()]),
        np.concatenate([done.spans, tracker.open_spans()]),
        np.concatenate([done.installs, tracker.open_installs()]),
    )


def durations(rows: Finished) -> dict[tuple[int, Measure], tuple[list[int], list[int]]]:
    """(ended, censored) by alloc and measure, from their definitions."""
    sides: dict[tuple[int, Measure], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for life in rows.lives:
        if life["began"] == Began.INSTALLED:
            censored = life["ended"] in (Ended.ALIVE, Ended.LOST)
            sides[int(life["alloc"]), Measure.LIFETIME][censored].append(int(life["end_ns"] - life["birth_ns"]))
    measures = {
        (State.ACTIVE, Kind.ALLOC_PAGE_END): Measure.ACTIVE_SPAN,
        (State.ACTIVE, Kind.ALLOC_LRU_START): Measure.ACTIVE_SPAN,
        (State.LRU, Kind.FREE_LRU_START): Measure.IDLE_SPAN,
        (State.FREE, Kind.UNMAP_KERNEL_START): Measure.REFAULT_DELAY,
    }
    for span in rows.spans:
        measure = measures.get((State(int(span["state"])), Kind(int(span["began"]))))
        if measure is not None:
            censored = bool(span["ended"] in (Kind.LOST, Kind.DETACH))
            if measure == Measure.REFAULT_DELAY:
                censored = bool(span["ended"] != Kind.ALLOC_PAGE_END)
            sides[int(span["alloc"]), measure][censored].append(int(span["until_ns"] - span["since_ns"]))
    for attempt in rows.installs:
        if attempt["outcome"] in (Outcome.INSTALLED, Outcome.DUPLICATE) and attempt["start_ns"] >= 0:
            latency = int(attempt["end_ns"] - attempt["start_ns"])
            sides[int(attempt["alloc"]), Measure.INSTALL_LATENCY][0].append(latency)
    return dict(sides)


def assert_quantiles(found: Quantiles | None, sides: tuple[list[int], list[int]] | None) -> None:
    if sides is None:
        assert found is None
        return
    ended, censored = sides
    assert found is not None
    assert (found.p50, found.p90, found.p99) == tuple(brute_force(ended, censored, p) for p in (0.5, 0.9, 0.99))
    assert (found.max, found.n, found.censored) == (max(ended, default=0), len(ended) + len(censored), len(censored))


@settings(max_examples=60)
@given(_EVENTS)
def test_durations_equal_brute_force(rows: list[tuple[Kind, int, int, int]]) -> None:
    report, expected = observed(events(rows)), durations(everything(events(rows)))
    merged: dict[Measure, tuple[list[int], list[int]]] = {}
    for (_, measure), (ended, censored) in expected.items():
        both = merged.setdefault(measure, ([], []))
        both[0].extend(ended)
        both[1].extend(censored)
    for p in report.processes:
        for measure in Measure:
            assert_quantiles(getattr(p, measure.name.lower()), expected.get((p.state.alloc, measure)))
    for measure in Measure:
        assert_quantiles(getattr(report.overall, measure.name.lower()), merged.get(measure))


@settings(max_examples=60)
@given(_EVENTS)
def test_senders_equal_brute_force(rows: list[tuple[Kind, int, int, int]]) -> None:
    report, done = observed(events(rows)), everything(events(rows))
    held: Counter[tuple[int, int]] = Counter()
    used: Counter[tuple[int, int]] = Counter()
    attempts: Counter[tuple[int, int, int]] = Counter()
    for life in done.lives:
        held[int(life["alloc"]), int(life["installer"])] += int(life["active_ns"] + life["lru_ns"])
    for span in done.spans:
        if span["state"] == State.ACTIVE and span["began"] in (Kind.ALLOC_PAGE_END, Kind.ALLOC_LRU_START):
            used[int(span["alloc"]), int(span["starter"])] += int(span["until_ns"] - span["since_ns"])
    for attempt in done.installs:
        attempts[int(attempt["alloc"]), int(attempt["tgid"]), int(attempt["outcome"])] += 1
    for p in report.processes:
        alloc = p.state.alloc
        assert [s.held_ns for s in p.senders] == sorted((s.held_ns for s in p.senders), reverse=True)
        for s in [*p.senders, *([p.busiest] if p.busiest else [])]:
            assert s.pid > 0
            assert s.comm == {2: "sender", 3: "kswapd0"}.get(s.pid)
            assert (s.held_ns, s.used_ns) == (held[alloc, s.pid], used[alloc, s.pid])
            assert s.installs == attempts[alloc, s.pid, Outcome.INSTALLED]
            assert s.duplicate_installs == attempts[alloc, s.pid, Outcome.DUPLICATE]
        named = {s.pid for s in p.senders}
        assert {t for (a, t), ns in held.items() if a == alloc and t and ns} <= named
        assert max((ns for (a, t), ns in used.items() if a == alloc and t), default=0) == (
            p.busiest.used_ns if p.busiest else 0
        )


@settings(max_examples=60)
@given(_EVENTS)
def test_reclaimers_equal_brute_force(rows: list[tuple[Kind, int, int, int]]) -> None:
    report, done = observed(events(rows)), everything(events(rows))
    expected: Counter[tuple[int, str]] = Counter()
    for life in done.lives[done.lives["ended"] == Ended.RECLAIMED]:
        inside = any(
            a["tgid"] == life["ender"] and 0 <= a["start_ns"] < life["end_ns"] < a["end_ns"] for a in done.installs
        )
        expected[int(life["ender"]), "kswapd" if life["ender"] == 3 else "direct" if inside else "other"] += 1
    assert {(r.pid, r.how): r.reclaims for r in report.reclaimers} == dict(expected)
    counts = [r.reclaims for r in report.reclaimers]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == sum(p.state.reclaims for p in report.processes)


@settings(max_examples=80)
@given(_EVENTS, st.lists(st.integers(0, 65), max_size=5))
def test_batches_may_be_cut_anywhere(rows: list[tuple[Kind, int, int, int]], cuts: list[int]) -> None:
    whole = events(rows)
    edges = [0, *sorted(min(c, len(whole)) for c in cuts), len(whole)]
    assert observed(*(whole.slice(a, b) for a, b in pairwise(edges))) == observed(whole)


@pytest.mark.parametrize("scenario", ["out-of-memory", "racing-installers", "churn"])
def test_a_scenario_may_be_cut_anywhere(scenario: str) -> None:
    source = SimulatorSource(scenario, duration_s=0.3)
    whole, cut = Observation(source.meta), Observation(source.meta)
    for one in source.batches():
        whole.feed(one)
        for start in range(0, len(one), 997):
            cut.feed(one.slice(start, start + 997))
    assert summarize(whole) == summarize(cut)
    assert summarize(whole) == summarize(whole)  # looking at it changes nothing


def test_direct_reclaim_is_told_when_the_attempt_ends_later() -> None:
    start, end = row(20, Kind.ALLOC_PAGE_START, 1), row(40, Kind.ALLOC_PAGE_END, 1)
    taken = row(30, Kind.UNMAP_KERNEL_START, 0)  # by the same task, while it installs
    before = [attach(), mapped(), *install(1), park(5)]
    for batches in ([batch(before, start, taken, end)], [batch(before, start), batch(taken), batch(end)]):
        (reclaimer,) = observed(*batches).reclaimers
        assert (reclaimer.how, reclaimer.reclaims) == ("direct", 1)
    after = row(50, Kind.UNMAP_KERNEL_START, 0)
    assert [r.how for r in observed(batch(before, start, end, after)).reclaimers] == ["other"]
    # at the end of the observation an attempt that goes on lasts until then
    assert [r.how for r in observed(batch(before, start, taken), batch(park(60, 3))).reclaimers] == ["direct"]


def test_reclaims_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reclaims, "MOST_PENDING", 10)
    observation = Observation(META)
    observation.feed(batch(attach(), mapped(), row(1, Kind.ALLOC_PAGE_START, 3, task=SHRINKER)))
    for i in range(100):
        rows: list[Row] = [*install(10 * i + 10), park(10 * i + 13), reclaim(10 * i + 15)]
        observation.feed(batch(rows))
        assert observation._reclaims._pending.shape[1] <= 10
    observation.feed(batch(row(2000, Kind.DETACH, alloc=0)))
    assert [(r.how, r.reclaims) for r in summarize(observation).reclaimers] == [("direct", 100)]


def test_what_lies_idle_or_in_use_at_the_end() -> None:
    second = 1_000_000_000
    report = observed(
        batch(
            attach(), mapped(), install(10, 0), install(20, 1), park(30, 0), install(40, 2), park(45, 2),
            row(second + 40, Kind.DETACH, alloc=0),
        )
    )  # fmt: skip
    (p,) = report.processes
    assert p.long_idle_pages == 1  # page 2 was parked later
    assert report.overall.idle_page_s == (second + 10 + second - 5) / 1e9
    assert p.idle_span == Quantiles(None, None, None, 0, 2, 2)


def test_released_spans_have_ended() -> None:
    (p,) = observed(batch(attach(), mapped(), install(10), park(21), reuse(31), park(41), release(60))).processes
    assert p.idle_span is not None
    assert (p.idle_span.n, p.idle_span.censored, p.idle_span.max) == (2, 0, 21)


def test_refaults_that_did_not_happen_are_censored() -> None:
    (p,) = observed(
        batch(attach(), mapped(), install(10), park(21), reclaim(31), install(40), park(50), reclaim(60), release(70))
    ).processes
    assert p.refault_delay is not None
    assert (p.refault_delay.p50, p.refault_delay.n, p.refault_delay.censored) == (10, 2, 1)

"""Suspected leaks: the rule of `analysis.leaks` page by page, and the pages that a leaking process really holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binder_observe.analysis.leaks import LEAK_MIN_NS, LEAK_TIMES, norm_ns
from binder_observe.events import EventBatch
from binder_observe.frames.leaks import df_leaks
from binder_observe.history import History, collect
from binder_observe.lifetimes import Quantiles
from binder_observe.sources.simulator import SimulatorSource
from tests.build import META, attach, batch, found, install, mapped, park, reuse, row
from tests.frames.brute import replay
from tests.frames.cells import dtypes
from tests.frames.recordings import histories
from tests.frames.tables import rows

COLUMNS = ["alloc", "page", "since_ns", "active_ns", "start_known", "norm_ns", "sender_pid"]


def with_norms(h: History, norms: dict[int, int | None]) -> History:
    """The history with these p99s of active spans in its report, by alloc."""
    processes = tuple(
        replace(p, active_span=None if norm is None else Quantiles(norm, norm, norm, norm))
        for p in h.report.processes
        for norm in (norms.get(p.state.alloc),)
    )
    return replace(h, report=replace(h.report, processes=processes))


@settings(max_examples=80)
@given(histories(), st.dictionaries(st.integers(1, 3), st.sampled_from([None, 0, 1, 150_000_000, 10**9])))
def test_against_the_definition(case: tuple[EventBatch, History], norms: dict[int, int | None]) -> None:
    events, h = case
    expected = []
    for span in replay(events).spans:
        age_ns, norm = span.until_ns - span.since_ns, norms.get(span.alloc)
        if span.state != "active" or span.ended != "detach" or norm is None:
            continue
        if age_ns > LEAK_TIMES * norm and age_ns > LEAK_MIN_NS:
            known = span.began in ("alloc_page_end", "alloc_lru_start")
            expected.append((span.alloc, span.page, span.since_ns, age_ns, known, norm, span.starter))
    expected.sort(key=lambda e: (-e[3], e[0], e[1]))
    assert rows(df_leaks(with_norms(h, norms)), *COLUMNS) == expected


def test_by_hand() -> None:
    """A page that its second user never gives back; one from before attach; one that came back at last."""
    s = 1_000_000_000
    events = batch(
        attach(), mapped(), found(2, alloc=2), row(0, 17, 0, alloc=2), row(0, 17, 1, alloc=2),
        row(0, 26, alloc=0, task=7, name="spender"), install(10, 0), park(20, 0), reuse(s, 0, task=7),
        park(12 * s - 1, 0, alloc=2), row(12 * s, 32, alloc=0),
    )  # fmt: skip
    h = collect(META, [events])
    frame = df_leaks(with_norms(h, {1: 10**9, 2: 10**9}))
    assert rows(frame, *COLUMNS) == [
        (2, 1, 0, 12 * s, False, s, None), (1, 0, s, 11 * s, True, s, 7),
    ]  # fmt: skip
    assert frame["times"].tolist() == [12, 11]
    assert rows(frame, "sender_comm") == [(None,), ("spender",)]
    assert len(df_leaks(with_norms(h, {1: 2 * s, 2: 2 * s}))) == 0
    assert len(df_leaks(with_norms(h, {}))) == 0


def test_a_leaking_process() -> None:
    """The rule once more over the model's own lives; the service that frees what it gets is not suspected."""
    source = SimulatorSource("page-leak", duration_s=3.0, truth=True)
    h = collect(source.meta, source.batches())
    norms = {p.state.alloc: norm_ns(p.active_span) for p in h.report.processes}
    assert source.truth is not None
    expected = set()
    for life in source.truth.lives():
        norm, (state, since) = norms[life.alloc], life.spans[-1]
        if life.ended == "alive" and state == "active" and norm is not None:
            age_ns = h.end_ns - since
            if age_ns > max(LEAK_TIMES * norm, LEAK_MIN_NS):
                expected.add((life.alloc, life.page, since, age_ns))
    frame = df_leaks(h)
    assert set(rows(frame, "alloc", "page", "since_ns", "active_ns")) == expected
    assert (frame["comm"] == "leaky.service").any()
    assert not (frame["comm"] == "healthy.service").any()
    for alloc, page in zip(frame["alloc"], frame["page"], strict=True):
        binder_alloc = source.kernel.allocs[alloc]
        assert binder_alloc.page_states()[page] == 1
        first, last = page * h.meta.page_size, (page + 1) * h.meta.page_size
        assert any(
            address < last and (b.next.user_data if b.next else binder_alloc.buffer_size) > first
            for address, b in binder_alloc.allocated_buffers.items()
        )


@pytest.mark.parametrize("scenario", ["page-leak", "steady"])
def test_agrees_with_the_report(scenario: str) -> None:
    source = SimulatorSource(scenario, duration_s=3.0 if scenario == "page-leak" else 1.2)
    h = collect(source.meta, source.batches())
    suspected = {p.state.alloc: p.leak_suspects for p in h.report.processes if p.leak_suspects}
    assert df_leaks(h).groupby("alloc").size().to_dict() == suspected
    assert bool(suspected) == (scenario == "page-leak")


def test_nothing_at_all() -> None:
    empty = df_leaks(collect(META, []))
    assert len(empty) == 0
    events = batch(attach(), mapped(), install(1), row(5_000_000_000, 32, alloc=0))
    full = df_leaks(with_norms(collect(META, [events]), {1: 1}))
    assert len(full) == 1
    assert dtypes(empty) == dtypes(full)

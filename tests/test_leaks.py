"""Which pages look leaked."""

from __future__ import annotations

import numpy as np
import pytest

from binder_observe.analysis.leaks import LEAK_MIN_NS, LEAK_TIMES, norm_ns, suspects
from binder_observe.analysis.summary import ProcessReport, summarize
from binder_observe.events import Kind
from binder_observe.lifetimes import Quantiles
from binder_observe.observation import Observation
from binder_observe.rows import State
from binder_observe.sources.simulator import SimulatorSource
from tests.build import META, Row, attach, batch, found, install, mapped, park, row

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("quantiles", "norm"),
    [
        (None, None),
        (Quantiles(None, None, None, 0), None),
        (Quantiles(1, 2, 3, 4), 3),
        (Quantiles(1, 2, None, 4), 2),  # so many leaked that the p99 is hidden
        (Quantiles(1, None, None, 4), 1),
    ],
)
def test_the_norm_is_the_highest_quantile_known(quantiles: Quantiles | None, norm: int | None) -> None:
    assert norm_ns(quantiles) == norm


def test_suspected_are_those_older_than_both_limits() -> None:
    short, long = LEAK_MIN_NS // LEAK_TIMES // 2, LEAK_MIN_NS
    ages = np.array([LEAK_MIN_NS, LEAK_MIN_NS + 1, LEAK_TIMES * long, LEAK_TIMES * long + 1])
    assert suspects(ages, short).tolist() == [False, True, True, True]
    assert suspects(ages, long).tolist() == [False, False, False, True]
    assert suspects(ages, None).tolist() == [False] * 4
    assert suspects(ages[:0], short).tolist() == []


def observed(*rows: Row | list[Row]) -> ProcessReport:
    observation = Observation(META)
    observation.feed(batch(attach(), *rows, row(3 * SECOND, Kind.DETACH, alloc=0)))
    (process,) = summarize(observation).processes
    return process


def test_pages_in_use_at_the_end_are_held_against_the_spans_that_ended() -> None:
    brief = [r for i in range(200) for r in (*install(100 * i, 0), park(100 * i + 50, 0))][: 3 * 1]
    again = [r for i in range(1, 200) for r in (row(100 * i, Kind.ALLOC_LRU_START), park(100 * i + 50))]
    kept = [*install(30_000, 1), *install(30_000, 2)]
    late = install(2 * SECOND + 1, 3)  # younger than LEAK_MIN_NS
    assert observed(mapped(), brief, again, kept, late).leak_suspects == 2
    assert observed(mapped(), kept).leak_suspects == 0  # nothing ended, so there is no norm


def test_a_page_from_before_attach_is_at_least_as_old_as_it_was_seen() -> None:
    again = [r for i in range(200) for r in (row(100 * i + 10, Kind.ALLOC_LRU_START), park(100 * i + 50))]
    process = observed(found(), row(1, Kind.SNAPSHOT_ACTIVE, 1), row(2, Kind.SNAPSHOT_LRU, 0), again)
    assert process.leak_suspects == 1


def test_the_simulated_leak_is_where_it_was_made() -> None:
    source = SimulatorSource("page-leak", duration_s=3)
    observation = Observation(source.meta)
    for one in source.batches():
        observation.feed(one)
    leaked = {p.state.comm: p.leak_suspects for p in summarize(observation).processes}
    assert leaked["leaky.service"] > 10
    for p in summarize(observation).processes:
        assert sum(s.pages for s in p.leak_senders) == p.leak_suspects  # five senders at most send to it
        assert {s.comm for s in p.leak_senders} <= {
            "leaky.service",
            "healthy.service",
        } or p.state.comm == "leaky.service"
    assert leaked["healthy.service"] == 0
    states = {a.comm: observation.tracker.page_states(a.alloc) for a in observation.tracker.allocs()}
    assert all(n <= (states[comm] == State.ACTIVE).sum() for comm, n in leaked.items())

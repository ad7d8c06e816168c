"""The cost of the allocator's metadata, by hand."""

from __future__ import annotations

import pytest

from binder_observe.analysis.metadata import metadata_cost
from binder_observe.analysis.summary import summarize
from binder_observe.events import Kind
from binder_observe.observation import Observation
from binder_observe.sources.simulator import SimulatorSource
from tests.build import META, attach, batch, install, mapped, park, reclaim, release, row


def test_a_run_by_hand() -> None:
    observation = Observation(META)
    observation.feed(batch(attach(), mapped(100), install(99, 0), install(199, 1)))
    observation.feed(batch(park(300, 1), reclaim(600, 1), release(698), row(1000, Kind.DETACH, alloc=0)))
    cost = summarize(observation).metadata
    assert cost.from_btf == ()
    # mapped: 100 pages for 700 of 1000 ns; installed: one from 100 to 700, one from 200 to 600
    assert cost.before.mean == 100 * 32 * 700 // 1000
    assert cost.after.mean == (100 * 8 * 700 + 32 * (600 + 400)) // 1000
    assert (cost.before.end, cost.after.end) == (0, 0)


def test_the_course_is_a_step_function_on_a_grid() -> None:
    ms = 1_000_000
    observation = Observation(META)
    observation.feed(
        batch(
            attach(), mapped(100), install(100, 0), install(3 * ms, 1), release(5 * ms - 10),
            mapped(4, alloc=2, ts=9 * ms), row(10 * ms, Kind.DETACH, alloc=0),
        )
    )  # fmt: skip
    assert [(s.ts_ns // ms, s.mapped, s.installed) for s in observation.course()] == [
        (1, 100, 1), (4, 100, 2), (5, 0, 0), (10, 4, 0),
    ]  # fmt: skip


def test_sizes_come_from_btf_where_there_is_one() -> None:
    cost = metadata_cost([], {"binder_lru_page": 40}, 10, 5, 10)
    assert cost.struct_bytes == {"binder_lru_page": 40, "binder_shrinker_mdata": 32}
    assert cost.from_btf == ("binder_lru_page",)
    assert cost.before.mean == 40
    assert cost.after.mean == 8 + 16


@pytest.mark.parametrize("generation", ["6.1", "6.8", "6.14"])
def test_the_series_is_bounded_and_ends_at_the_end(generation: str) -> None:
    source = SimulatorSource("memory-pressure", duration_s=3, generation=generation)  # type: ignore[arg-type]
    observation = Observation(source.meta)
    whole = Observation(source.meta)
    for events in source.batches():
        whole.feed(events)
        for start in range(0, len(events), 1000):
            observation.feed(events.slice(start, start + 1000))
    assert whole.course() == observation.course()
    cost = summarize(observation).metadata
    times = [t for t, _, _ in cost.series]
    assert 100 < len(times) <= 257
    assert times == sorted(set(times))
    assert cost.after.mean < cost.before.mean
    live = [a for a in observation.tracker.allocs() if not a.released]
    assert cost.before.end == 32 * sum(a.mapping_pages for a in live)
    assert cost.after.end == sum(8 * a.mapping_pages + 32 * (a.active + a.lru) for a in live)

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from binder_observe.events import EventBatch, Kind
from binder_observe.frames.fragmentation import df_fragmentation
from binder_observe.history import History, collect
from tests.build import META, attach, batch, found, install, mapped, park, reclaim, row
from tests.frames.brute import Replay, replay
from tests.frames.recordings import histories
from tests.frames.tables import key, rows, until


def measured(expected: Replay, alloc: int) -> tuple[Any, ...]:
    mapping = expected.mappings[alloc]
    spans = [s for s in expected.spans if s.alloc == alloc and s.state in ("active", "lru")]
    touched = len({s.page for s in spans})
    high = max([mapping.high, *(s.page + 1 for s in spans)])
    length_ns = until(expected, mapping) - mapping.first_ns
    return (
        *key(expected, alloc), mapping.pages, high, touched, sum(s.ended in ("detach", "release_end") for s in spans),
        pytest.approx(sum(s.until_ns - s.since_ns for s in spans) / length_ns) if length_ns else None,
        touched / high if high else None, high - touched, mapping.from_birth,
    )  # fmt: skip


@settings(max_examples=50)
@given(histories())
def test_fragmentation(case: tuple[EventBatch, History]) -> None:
    events, h = case
    expected = replay(events)
    order = [p.state.alloc for p in h.report.processes]
    assert sorted(order) == sorted(expected.mappings)
    assert rows(df_fragmentation(h)) == [measured(expected, alloc) for alloc in order]


def test_a_hole_below_the_watermark() -> None:
    h = collect(META, [batch(
        attach(), mapped(8), install(9, 0), install(19, 3), park(40, 3), reclaim(60, 3), found(4, ts=70, alloc=2),
        row(71, Kind.SNAPSHOT_HIGH, 4, alloc=2), row(100, Kind.DETACH, alloc=0),
    )])  # fmt: skip
    first, second = df_fragmentation(h).to_dict("records")
    assert (first["high_watermark"], first["touched"], first["hole_pages"], first["use"]) == (4, 2, 2, 0.5)
    assert (first["held_end"], first["mean_held"]) == (1, (90 + 40) / 100)
    assert (second["high_watermark"], second["use"], second["observed_from_birth"]) == (4, 0, False)

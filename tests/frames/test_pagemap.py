from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch
from binder_observe.frames.pagemap import NOT_MAPPED, page_map
from binder_observe.history import History, collect
from binder_observe.rows import State
from binder_observe.sources.simulator import SimulatorSource
from tests.build import META, attach, batch, mapped, row
from tests.frames.brute import replay
from tests.frames.recordings import histories

Stay = tuple[int, str, int, int]  # page, state, since, until


def painted(stays: list[Stay], pages: int, edges: list[int]) -> list[list[int]]:
    cells = []
    for page in range(pages):
        mine = [stay for stay in stays if stay[0] == page]
        line = []
        for begin, end in pairwise(edges):
            time = dict.fromkeys(State, 0)
            for _, state, since, until in mine:
                time[State[state.upper()]] += max(min(until, end) - max(since, begin), 0)
            most = max(time.values())
            line.append(min(state for state in State if time[state] == most) if most else NOT_MAPPED)
        cells.append(line)
    return cells


def check_edges(h: History, edges: NDArray[np.int64], columns: int) -> None:
    width = np.diff(edges)
    assert len(width) == columns
    assert edges[0] == h.begin_ns
    assert edges[-1] == max(h.end_ns, h.begin_ns + columns)
    assert width.max() - width.min() <= 1


@settings(max_examples=50)
@given(histories(), st.integers(1, 40))
def test_page_map(case: tuple[EventBatch, History], columns: int) -> None:
    events, h = case
    expected = replay(events)
    for mapping in expected.mappings.values():
        edges, states = page_map(h, mapping.alloc, columns)
        check_edges(h, edges, columns)
        stays = [(s.page, s.state, s.since_ns, s.until_ns) for s in expected.spans if s.alloc == mapping.alloc]
        assert states.tolist() == painted(stays, mapping.pages, edges.tolist())


def test_page_map_of_a_scenario() -> None:
    source = SimulatorSource("churn", duration_s=1.0, truth=True)
    h = collect(source.meta, source.batches())
    assert source.truth is not None
    released = next(s for s in h.allocs if s.released)
    edges, states = page_map(h, released.alloc, 50)
    lives = [life for life in source.truth.lives() if life.alloc == released.alloc]
    stays: list[Stay] = []
    for page in range(released.mapping_pages):
        since = released.first_ns
        for life in (v for v in lives if v.page == page):
            assert life.end_ns is not None
            times = [ts for _, ts in life.spans] + [life.end_ns]
            stays.append((page, "free", since, life.birth_ns))
            stays += [(page, s, a, b) for (s, a), b in zip(life.spans, times[1:], strict=True)]
            since = life.end_ns
        stays.append((page, "free", since, released.until_ns))
    assert states.tolist() == painted(stays, released.mapping_pages, edges.tolist())
    assert (states[:, -1] == NOT_MAPPED).all()


def test_what_cannot_be_drawn() -> None:
    h = collect(META, [batch(attach(), mapped(2), row(100, 32, alloc=0))])
    with pytest.raises(ObserveError, match="no alloc 7"):
        page_map(h, 7)
    with pytest.raises(ObserveError, match="at least one"):
        page_map(h, 1, 0)

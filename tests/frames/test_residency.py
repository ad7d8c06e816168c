from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch
from binder_observe.frames.residency import df_page_seconds, df_residency
from binder_observe.history import History, collect
from binder_observe.sources.simulator import SimulatorSource
from tests.build import META
from tests.frames.brute import Replay, replay
from tests.frames.recordings import histories
from tests.frames.tables import key, rows, task

pytestmark = pytest.mark.slow

STATES = ("active", "lru", "free", "unknown")
By = Literal["alloc", "pid", "all"]


def counted(expected: Replay, allocs: list[int]) -> list[tuple[int, int, int, int, int]]:
    """The number of pages in each state at every moment at which that changes, and at the end."""
    spans = [s for s in expected.spans if s.alloc in allocs]
    steps = []
    before = [0, 0, 0, 0]
    for ts in sorted({s.since_ns for s in spans} | {s.until_ns for s in spans} | {expected.end_ns}):
        now = [
            sum(s.state == state and s.since_ns <= ts and (ts < s.until_ns or s.ended == "detach") for s in spans)
            for state in STATES
        ]
        if now != before or ts == expected.end_ns:
            steps.append((ts, *now))
        before = now
    return steps  # type: ignore[return-value]


@pytest.mark.parametrize("by", ["alloc", "pid", "all"])
@settings(max_examples=50)
@given(case=histories())
def test_residency(by: By, case: tuple[EventBatch, History]) -> None:
    events, h = case
    expected = replay(events)
    frame = df_residency(h, by)
    steps: list[tuple[Any, ...]] = []
    if by == "alloc":
        for alloc in sorted(expected.mappings):
            steps += [(*key(expected, alloc), *step) for step in counted(expected, [alloc])]
    elif by == "pid":
        for pid in sorted({m.pid for m in expected.mappings.values()}):
            own = [m.alloc for m in expected.mappings.values() if m.pid == pid]
            steps += [(*task(expected, pid), *step) for step in counted(expected, own)]
    elif expected.mappings:
        steps = list(counted(expected, list(expected.mappings)))
    assert rows(frame) == steps


def heights(row: Any) -> tuple[int, int, int, int]:
    """What a picture may draw."""
    return row.active, row.active + row.lru, row.unknown, row.active + row.lru + row.unknown


@settings(max_examples=50)
@given(histories(), st.sampled_from(["alloc", "all"]), st.integers(1, 30))
def test_fewer_rows_look_the_same_in_columns(case: tuple[EventBatch, History], by: By, cells: int) -> None:
    _, h = case
    every, few = df_residency(h, by), df_residency(h, by, cells)
    width_ns = max((max(every["ts_ns"], default=h.end_ns) - h.begin_ns) // cells, 1)
    for frame in (every, few):
        frame["cell"] = (frame["ts_ns"] - h.begin_ns) // width_ns
    groups = ["cell"] if by == "all" else ["alloc", "cell"]
    drawn = dict(tuple(few.groupby(groups)))
    assert len(few) <= 9 * len(drawn)
    for key_of_group, rows_of_cell in every.groupby(groups):
        shown = drawn.pop(key_of_group)
        assert set(shown.itertuples(index=False)) <= set(rows_of_cell.itertuples(index=False))
        assert shown.iloc[-1].tolist() == rows_of_cell.iloc[-1].tolist()
        all_heights, seen = (
            list(zip(*map(heights, rows.itertuples(index=False)), strict=True)) for rows in (rows_of_cell, shown)
        )
        for expected, got in zip(all_heights, seen, strict=True):
            assert (min(got), max(got)) == (min(expected), max(expected))
    assert not drawn


def test_no_cells() -> None:
    with pytest.raises(ObserveError, match="0 cells"):
        df_residency(collect(META, []), cells=0)


def page_time(frame: pd.DataFrame, state: str) -> pd.Series:
    """The integral of each alloc's step function."""
    lasts = frame.groupby("alloc")["ts_ns"].shift(-1).fillna(frame["ts_ns"]).astype("int64") - frame["ts_ns"]
    return (frame[state] * lasts).groupby(frame["alloc"]).sum()


def check_books(h: History) -> None:
    frame, seconds = df_residency(h), df_page_seconds(h).set_index("alloc")
    mapped = frame[list(STATES)].sum(axis=1)
    for s in h.allocs:
        mine = frame[frame["alloc"] == s.alloc]
        during = mine[mine["ts_ns"] < s.until_ns] if s.released else mine
        assert (mapped[during.index] == s.mapping_pages).all()
        assert (mapped[mine.index.difference(during.index)] == 0).all()
        if len(during):
            assert during[list(STATES)].iloc[-1].tolist() == [getattr(s, state) for state in STATES]
        for state, expected in (("active", s.active_ns), ("lru", s.lru_ns)):
            assert page_time(mine, state)[s.alloc] == expected
            assert seconds[f"{state}_s"][s.alloc] == expected / 1e9
        total = sum(seconds[f"{state}_s"][s.alloc] for state in STATES)
        assert total == pytest.approx(s.mapping_pages * (s.until_ns - s.first_ns) / 1e9)
        held = s.active_ns + s.lru_ns
        share = seconds["idle_share"][s.alloc]
        assert share is pd.NA if held == 0 else share == s.lru_ns / held


@settings(max_examples=50)
@given(histories())
def test_page_seconds_and_conservation(case: tuple[EventBatch, History]) -> None:
    _, h = case
    check_books(h)
    for state in STATES:
        total = page_time(df_residency(h), state)
        seconds = df_page_seconds(h).set_index("alloc")[f"{state}_s"]
        assert (total / 1e9 == seconds.reindex(total.index)).all()


@pytest.mark.parametrize("scenario", ["memory-pressure", "churn"])
def test_a_scenario(scenario: str) -> None:
    source = SimulatorSource(scenario, duration_s=1.0)
    h = collect(source.meta, source.batches())
    check_books(h)
    frame, everything = df_residency(h), df_residency(h, "all")
    end = frame[frame["ts_ns"] == h.end_ns].groupby("alloc").last()
    for alloc in source.kernel.allocs.values():
        states = np.frombuffer(bytes(alloc.page_states()), dtype=np.uint8)
        pages = [end[state][alloc.number] for state in ("free", "active", "lru")]
        assert pages == np.bincount(states, minlength=3).tolist()
    assert everything[list(STATES)].iloc[-1].tolist() == end[list(STATES)].sum().tolist()

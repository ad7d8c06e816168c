from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch
from binder_observe.frames.lives import df_lifetimes, df_spans, stays, window
from binder_observe.history import History, collect
from binder_observe.rows import State
from binder_observe.sources.simulator import SimulatorSource
from tests.build import META, attach, batch, install, mapped, park, reclaim
from tests.frames.brute import replay
from tests.frames.recordings import histories
from tests.frames.tables import key, rows, task

pytestmark = pytest.mark.slow

_UNKNOWN_STARTS = ("alloc", "lost", "snapshot_free", "snapshot_active", "snapshot_lru")


@settings(max_examples=50)
@given(histories())
def test_lifetimes(case: tuple[EventBatch, History]) -> None:
    events, h = case
    expected = replay(events)
    lives = []
    for v in expected.lives:
        birth = v.observed_ns if v.began == "installed" else None
        lives.append(
            (*key(expected, v.alloc), v.page, v.began, v.ended, v.observed_ns, birth, None if birth is None else 0,
             v.end_ns, None if birth is None else v.end_ns - birth, v.active_ns, v.lru_ns, v.reuses,
             *task(expected, v.sender), *task(expected, v.ender))
        )  # fmt: skip
    assert rows(df_lifetimes(h)) == sorted(lives, key=lambda v: (v[7], v[3], v[4]))


@settings(max_examples=50)
@given(histories())
def test_spans(case: tuple[EventBatch, History]) -> None:
    events, h = case
    expected = replay(events)
    spans = [
        (*key(expected, s.alloc), s.page, s.state, s.began, s.ended, s.since_ns, s.until_ns, s.until_ns - s.since_ns,
         s.began not in _UNKNOWN_STARTS, s.ended not in ("lost", "detach"),
         *task(expected, s.starter), *task(expected, s.ender))
        for s in expected.spans
    ]  # fmt: skip
    assert rows(df_spans(h)) == sorted(spans, key=lambda s: (s[8], s[3], s[4]))


@settings(max_examples=50)
@given(histories())
def test_stays(case: tuple[EventBatch, History]) -> None:
    events, h = case
    expected = replay(events)
    for state in State:
        durations = [
            (s.state, s.until_ns - s.since_ns, s.began not in _UNKNOWN_STARTS, s.ended not in ("lost", "detach"))
            for s in expected.spans if s.state == state.name.lower()
        ]  # fmt: skip
        assert sorted(rows(stays(h, state))) == sorted(durations)


def test_lifetimes_of_a_scenario() -> None:
    source = SimulatorSource("churn", duration_s=1.0, truth=True)
    h = collect(source.meta, source.batches())
    assert source.truth is not None
    known = [
        (v.alloc, v.page, v.ended, v.birth_ns, h.end_ns if v.end_ns is None else v.end_ns, v.reuses)
        for v in source.truth.lives()
    ]
    frame = df_lifetimes(h)
    assert sorted(rows(frame, "alloc", "page", "ended", "birth_ns", "end_ns", "reuses")) == sorted(known)
    assert (frame["active_ns"] + frame["lru_ns"] == frame["duration_ns"]).all()
    assert frame["sender_pid"].notna().all()


@settings(max_examples=50)
@given(histories())
def test_a_window_of_everything_changes_nothing(case: tuple[EventBatch, History]) -> None:
    frame = df_lifetimes(case[1])
    seen = window(frame, case[1].begin_ns, case[1].end_ns)
    pd.testing.assert_frame_equal(seen, frame, check_dtype=False)


@settings(max_examples=25)
@given(histories(), st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_windows_side_by_side_hold_all_that_was_lived(case: tuple[EventBatch, History], at: list[float]) -> None:
    _, h = case
    cuts = sorted({h.begin_ns + round(share * (h.end_ns - h.begin_ns)) for share in at} - {h.begin_ns, h.end_ns})
    frame = df_lifetimes(h)
    frame = frame[frame["end_ns"] > frame["observed_ns"]]  # one without length can stand on a cut, and so in two
    parts = [window(frame, a, b) for a, b in zip([h.begin_ns, *cuts], [*cuts, h.end_ns], strict=True)]
    both = pd.concat(parts)
    born = both["birth_ns"].notna()
    assert (both["duration_ns"] - both["entry_ns"]).sum() == frame["duration_ns"].sum()
    assert (both["end_ns"] - both["observed_ns"]).sum() == (frame["end_ns"] - frame["observed_ns"]).sum()
    for ended in ("reclaimed", "released", "lost"):
        assert (both["ended"] == ended).sum() == (frame["ended"] == ended).sum()
    assert (both["entry_ns"] == both["observed_ns"] - both["birth_ns"])[born].all()
    for part, end_ns in zip(parts, [*cuts, h.end_ns], strict=True):
        cut = part[(part["ended"] == "alive") & (part["end_ns"] == end_ns)]
        assert cut["ender_pid"].isna().all()
        assert (part["end_ns"] <= end_ns).all()
        whole = part[part["active_ns"].notna()]
        assert (whole["active_ns"] + whole["lru_ns"] == whole["end_ns"] - whole["observed_ns"]).all()
    again = [window(part, a, b) for part, a, b in zip(parts, [h.begin_ns, *cuts], [*cuts, h.end_ns], strict=True)]
    for part, twice in zip(parts, again, strict=True):
        pd.testing.assert_frame_equal(twice, part)


def test_what_a_cut_life_did_in_the_window_is_not_known() -> None:
    source = SimulatorSource("churn", duration_s=0.5)
    h = collect(source.meta, source.batches())
    frame = df_lifetimes(h)
    middle = (h.begin_ns + h.end_ns) // 2
    seen = window(frame, middle, h.end_ns)
    early = seen["entry_ns"] > 0
    assert early.any()
    assert (seen["active_ns"].isna() == early).all()
    assert (seen["reuses"].isna() == early).all()
    assert (seen["observed_ns"] >= middle).all()


def test_the_edges_of_a_window() -> None:
    h = collect(META, [batch(attach(), mapped(), install(9, 0), park(20, 0), reclaim(30, 0), install(49, 1))])
    frame = df_lifetimes(h)  # from 10 to 30, and from 50 on
    assert window(frame, 0, 10)["page"].tolist() == [0]
    assert window(frame, 10, 29)[["ended", "entry_ns"]].to_numpy().tolist() == [["alive", 0]]
    assert window(frame, 11, 30)[["ended", "entry_ns"]].to_numpy().tolist() == [["reclaimed", 1]]
    assert window(frame, 30, 49)["page"].tolist() == []
    assert window(frame, 29, 50)["page"].tolist() == [0, 1]


def test_a_window_that_ends_before_it_begins() -> None:
    source = SimulatorSource("steady", duration_s=0.01)
    frame = df_lifetimes(collect(source.meta, source.batches()))
    with pytest.raises(ObserveError, match="before it begins"):
        window(frame, 10, 9)

"""Every transition, legal and illegal, from short event lists; and what must hold for any list."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from binder_observe.errors import ObserveError
from binder_observe.events import LRU_SKIPS, EventBatch, Kind, from_rows
from binder_observe.rows import Began, Ended, State
from binder_observe.tracker import AllocState, LruSkips, PageTracker
from binder_observe.transitions import IN_FLIGHT_NS, TRANSITIONS, Do
from tests.build import (
    SENDER,
    SHRINKER,
    WORKER,
    Row,
    all_states,
    attach,
    batch,
    found,
    install,
    mapped,
    park,
    reclaim,
    release,
    reuse,
    row,
)  # fmt: skip


def track(*rows: Row | list[Row]) -> tuple[PageTracker, NDArray[np.void]]:
    tracker = PageTracker()
    return tracker, tracker.update(batch(*rows)).lives


def only(tracker: PageTracker) -> AllocState:
    (state,) = tracker.allocs()
    return state


def gone(*rows: Row | list[Row]) -> AllocState:
    (state,) = PageTracker().update(batch(*rows)).allocs
    return state


def life(lives: NDArray[np.void]) -> dict[str, Any]:
    (one,) = lives
    return {name: int(one[name]) for name in one.dtype.names}


def test_a_whole_life() -> None:
    tracker, lives = track(
        attach(), mapped(), install(10), park(21), reuse(31), park(51), reclaim(91), row(100, Kind.DETACH, alloc=0)
    )
    assert life(lives) == {
        "alloc": 1, "page": 0, "began": Began.INSTALLED, "ended": Ended.RECLAIMED, "birth_ns": 11, "end_ns": 91,
        "active_ns": 10 + 20, "lru_ns": 10 + 40, "reuses": 1, "installer": SENDER, "ender": SHRINKER,
    }  # fmt: skip
    state = only(tracker)
    assert (state.installs, state.parks, state.reuses, state.reclaims) == (1, 2, 1, 1)
    assert (state.free, state.active, state.lru, state.unknown) == (4, 0, 0, 0)
    assert (state.active_ns, state.lru_ns) == (30, 50)
    assert state.high_watermark == 1
    assert tracker.unexplained() == {}
    assert len(tracker.alive()) == 0


def test_what_goes_on_is_censored() -> None:
    tracker, lives = track(attach(), mapped(), install(10), park(21), row(100, Kind.DETACH, alloc=0))
    assert len(lives) == 0
    alive = life(tracker.alive())
    assert (alive["ended"], alive["end_ns"]) == (Ended.ALIVE, 100)
    assert (alive["active_ns"], alive["lru_ns"], alive["ender"]) == (10, 79, 0)
    assert only(tracker).lru_ns == 79


def test_an_install_under_way_at_attach_is_one_wherever_the_snapshot_stands() -> None:
    end, other = install(9)[1], install(19, task=201)[1]
    for rows in (
        [row(5, Kind.SNAPSHOT_ACTIVE), end],
        [row(5, Kind.SNAPSHOT_FREE), end],
        [end, row(15, Kind.SNAPSHOT_ACTIVE)],
    ):
        tracker, lives = track(attach(), found(), rows, other)
        state = only(tracker)
        assert (state.installs, state.duplicate_installs, state.unexplained) == (1, 1, 0)
        assert (state.active, state.free, state.unknown) == (1, 0, 3)
        assert not len(lives)
        assert life(tracker.alive())["began"] == Began.INSTALLED
        assert life(tracker.alive())["birth_ns"] == 10


def test_a_race_that_is_lost_to_a_page_from_before_attach_is_a_duplicate() -> None:
    tracker, _ = track(attach(), found(), row(5, Kind.SNAPSHOT_ACTIVE), install(9))
    state = only(tracker)
    assert (state.installs, state.duplicate_installs, state.unexplained) == (0, 1, 0)
    assert life(tracker.alive())["began"] == Began.BEFORE_ATTACH


def test_a_second_end_is_a_duplicate_and_no_new_life() -> None:
    start, end = Kind.ALLOC_PAGE_START, Kind.ALLOC_PAGE_END
    tracker, lives = track(
        attach(), mapped(), row(1, start, task=7), row(2, start, task=8), row(3, end, task=8), row(4, end, task=7)
    )
    state = only(tracker)
    assert (state.installs, state.duplicate_installs, state.failed_installs) == (1, 1, 0)
    assert state.active == 1
    assert len(lives) == 0
    assert life(tracker.alive())["installer"] == 8


def test_an_attempt_may_be_announced_after_the_winner_is_done() -> None:
    tracker, _ = track(attach(), mapped(), install(1, task=7), install(5, task=8))
    state = only(tracker)
    assert (state.installs, state.duplicate_installs, state.unexplained) == (1, 1, 0)
    assert life(tracker.alive())["birth_ns"] == 2


def test_a_failed_install_shows_by_the_next_step_of_its_task() -> None:
    tracker, _ = track(attach(), mapped(), install(1, 0), row(5, Kind.ALLOC_PAGE_START, 1), park(6, 0, task=SENDER))
    state = only(tracker)
    assert (state.failed_installs, state.installs_in_flight, state.installs) == (1, 0, 1)


def test_reclaim_inside_an_install_is_no_failure() -> None:
    """The allocation of the page may enter the shrinker, in the same task."""
    tracker, lives = track(
        attach(), mapped(), install(1, 0), park(5, 0),
        row(10, Kind.ALLOC_PAGE_START, 1), row(11, Kind.UNMAP_KERNEL_START, 0, task=SENDER),
        row(12, Kind.ALLOC_PAGE_END, 1),
    )  # fmt: skip
    assert only(tracker).failed_installs == 0
    assert life(lives)["ender"] == SENDER


def test_an_attempt_at_the_end_is_in_flight_until_it_is_old() -> None:
    rows = [attach(), mapped(), row(10, Kind.ALLOC_PAGE_START)]
    tracker, _ = track(*rows, row(20, Kind.DETACH, alloc=0))
    assert (only(tracker).failed_installs, only(tracker).installs_in_flight) == (0, 1)
    tracker, _ = track(*rows, row(11 + IN_FLIGHT_NS, Kind.DETACH, alloc=0))
    assert (only(tracker).failed_installs, only(tracker).installs_in_flight) == (1, 0)


def test_an_attempt_fails_at_release() -> None:
    assert gone(attach(), mapped(), row(10, Kind.ALLOC_PAGE_START), release(20)).failed_installs == 1


def test_many_unended_attempts_are_failures() -> None:
    attempts = [row(10 + i, Kind.ALLOC_PAGE_START, task=1000 + i) for i in range(5000)]
    tracker, _ = track(attach(), mapped(), attempts, row(20 + 2 * IN_FLIGHT_NS, Kind.DETACH, alloc=0))
    assert only(tracker).failed_installs == 5000


def test_parks_at_release_are_teardown() -> None:
    rows = (attach(), mapped(), install(10, 0), install(12, 1), park(15, 1), release(20, parks=(0,)))
    tracker, lives = track(*rows)
    state = gone(*rows)
    assert (state.parks, state.teardown_parks) == (1, 1)
    assert (state.active, state.lru, state.free) == (1, 1, 2)  # just before release
    assert state.released
    assert lives["ended"].tolist() == [Ended.RELEASED] * 2
    assert lives["ender"].tolist() == [WORKER] * 2
    assert (lives["active_ns"].tolist(), lives["lru_ns"].tolist()) == ([22 - 11, 15 - 13], [0, 22 - 15])
    assert len(tracker.alive()) == 0


def test_pages_from_before_attach_are_learned() -> None:
    tracker, lives = track(
        attach(), found(6, ts=5), park(10, 0), reuse(20, 1), reclaim(30, 2), install(40, 3), reclaim(60, 0)
    )
    state = only(tracker)
    assert (state.unknown, state.active, state.lru, state.free) == (2, 2, 0, 2)
    assert not state.from_birth
    assert lives["began"].tolist() == [Began.BEFORE_ATTACH] * 2
    assert lives["page"].tolist() == [2, 0]
    assert lives["birth_ns"].tolist() == [5, 5]
    assert lives["active_ns"].tolist() == [0, 5]
    assert lives["lru_ns"].tolist() == [25, 50]
    assert lives["installer"].tolist() == [0, 0]
    assert tracker.unexplained() == {}


def test_pages_can_be_told_by_snapshot_and_events_win() -> None:
    kinds = (Kind.SNAPSHOT_FREE, Kind.SNAPSHOT_ACTIVE, Kind.SNAPSHOT_LRU)
    tracker, _ = track(
        attach(), found(4, ts=5), park(6, 3), [row(10, kind, i) for i, kind in enumerate(kinds)],
        row(11, Kind.SNAPSHOT_FREE, 3), row(12, Kind.SNAPSHOT_HIGH, 4),
    )  # fmt: skip
    state = only(tracker)
    assert (state.free, state.active, state.lru, state.unknown) == (1, 1, 2, 0)
    assert state.high_watermark == 4
    assert tracker.alive()["began"].tolist() == [Began.BEFORE_ATTACH] * 3


def test_a_gap_ends_what_was_known() -> None:
    tracker, lives = track(
        attach(), mapped(), mapped(alloc=2), install(10, 0), install(20, 0, alloc=2), park(31, 0),
        row(50, Kind.LOST, 9), reclaim(60, 0), install(70, 1),
    )  # fmt: skip
    assert lives["ended"].tolist() == [Ended.LOST, Ended.RECLAIMED]
    assert lives["end_ns"].tolist() == [31, 60]  # it was last known at the alloc's last event
    assert lives["began"].tolist() == [Began.INSTALLED, Began.AFTER_GAP]
    first, second = tracker.allocs()
    assert (first.unknown, first.free, first.active, first.lost_events) == (2, 1, 1, 9)
    assert (second.unknown, second.active) == (0, 1)
    assert tracker.lost_events == 9
    assert tracker.unexplained() == {}


def test_a_gap_of_no_alloc_is_a_gap_of_all() -> None:
    tracker, lives = track(
        attach(), mapped(), mapped(alloc=2), install(10), install(20, alloc=2), row(50, Kind.LOST, 9, alloc=0)
    )
    assert lives["ended"].tolist() == [Ended.LOST] * 2
    assert [state.unknown for state in tracker.allocs()] == [4, 4]


def test_a_gap_over_more_pages_than_a_batch_has_lives() -> None:
    tracker = PageTracker()
    tracker.update(batch(attach(), [mapped(1024, alloc=i + 1) for i in range(100)]))
    for i in range(100):
        tracker.update(batch([r for page in range(1024) for r in install(10, page, alloc=i + 1)]))
    assert len(tracker.update(batch(row(50, Kind.LOST, 1, alloc=0))).lives) == 102400


_ILLEGAL = [(kind, State(s)) for kind, dos in TRANSITIONS.items() for s, do in enumerate(dos) if do is Do.UNEXPLAINED]


@pytest.mark.parametrize(("kind", "state"), _ILLEGAL, ids=lambda value: value.name)
def test_what_cannot_be_is_counted_by_name_and_believed(kind: Kind, state: State) -> None:
    before: dict[State, list[Row]] = {
        State.FREE: [],
        State.ACTIVE: install(10),
        State.LRU: [*install(10), park(12)],
    }
    tracker, lives = track(attach(), mapped(), before[state], row(20, kind))
    assert tracker.unexplained() == {f"{state.name}+{kind.name}": 1}
    after = {
        Kind.ALLOC_PAGE_START: State.FREE, Kind.ALLOC_PAGE_END: State.ACTIVE, Kind.ALLOC_LRU_START: State.ACTIVE,
        Kind.FREE_LRU_START: State.LRU, Kind.UNMAP_KERNEL_START: State.FREE,
    }[kind]  # fmt: skip
    assert tracker.page_states(1)[0] == after
    assert only(tracker).unexplained == 1
    was, now = state != State.FREE, after != State.FREE
    changed = state != after
    assert lives["ended"].tolist() == ([Ended.LOST] if was and changed else [])
    assert tracker.alive()["began"].tolist() == ([Began.AFTER_GAP if changed else Began.INSTALLED] if now else [])


def test_events_that_belong_nowhere_are_counted() -> None:
    tracker, _ = track(attach(), mapped(4), park(1, 4), park(2, 0, alloc=9), release(5), park(9, 0))
    assert tracker.unexplained() == {"unknown page+FREE_LRU_START": 3}


def test_slots_of_released_allocs_are_used_again() -> None:
    tracker = PageTracker()
    tracker.update(batch(attach()))
    released: list[AllocState] = []
    for i in range(2000):
        rows = (mapped(254, alloc=i + 1, owner=i), install(10, alloc=i + 1), release(20, alloc=i + 1))
        released += tracker.update(batch(*rows)).allocs
    assert (len(tracker._pages), len(tracker._allocs)) == (4096, 64)
    assert sum(state.installs for state in released) == 2000


def test_impossible_descriptions_are_damage() -> None:
    for bad in (mapped(1 << 20), mapped(alloc=1 << 30), mapped(alloc=0)):
        with pytest.raises(ObserveError, match="damaged"):
            track(attach(), bad)


def test_read_only_columns_need_no_second_compilation() -> None:
    events = batch(attach(), mapped(), install(10))
    for column in (events.ts_ns, events.kind, events.alloc, events.page, events.tgid, events.tid):
        column.flags.writeable = False
    tracker = PageTracker()
    tracker.update(events)
    assert only(tracker).installs == 1


def test_skips_are_counted_by_reason_and_change_nothing() -> None:
    """Whatever is known of the page: who reuses it says so before it is off the list."""
    before: list[Row | list[Row]] = [
        attach(), mapped(), found(alloc=2), install(10, 0), install(20, 1), park(30, 1),
    ]  # fmt: skip
    quiet, _ = track(*before)
    skips = [row(40 + page, kind, page, alloc=a) for kind in LRU_SKIPS for page in range(3) for a in (1, 2)]
    tracker, lives = track(*before, skips, row(60, Kind.LRU_SKIP_MM_GONE, 1))
    assert len(lives) == 0
    assert tracker.unexplained() == {}
    expected = {1: LruSkips(alloc_lock=3, mmap_lock=3, mm_gone=4, other=3), 2: LruSkips(3, 3, 3, 3)}
    for state, was in zip(tracker.allocs(), quiet.allocs(), strict=True):
        assert state.lru_skips == expected[state.alloc]
        assert was.lru_skips.total == 0
        assert (tracker.page_states(state.alloc) == quiet.page_states(state.alloc)).all()
    assert tracker.events == quiet.events + len(skips) + 1


def test_a_skip_inside_an_install_does_not_end_the_attempt() -> None:
    """A sender whose own allocation enters the shrinker meets the locks that it holds itself."""
    tracker, _ = track(
        attach(), mapped(), row(10, Kind.ALLOC_PAGE_START), row(11, Kind.LRU_SKIP_ALLOC_LOCK, 1),
        row(12, Kind.ALLOC_PAGE_END), row(13, Kind.DETACH, alloc=0),
    )  # fmt: skip
    state = only(tracker)
    assert (state.installs, state.failed_installs, state.lru_skips) == (1, 0, LruSkips(alloc_lock=1))


def test_a_skip_beyond_the_mapping_is_unexplained() -> None:
    tracker, _ = track(attach(), mapped(4), row(10, Kind.LRU_SKIP_OTHER, 4))
    assert tracker.unexplained() == {"unknown page+LRU_SKIP_OTHER": 1}
    assert only(tracker).lru_skips.total == 0


_PAGES = 3
_EVENTS = st.lists(
    st.tuples(
        st.sampled_from([k for k in Kind if k not in (Kind.ALLOC, Kind.MMAP)]),
        st.integers(0, 2),  # alloc
        st.integers(0, _PAGES),  # page, one beyond the mapping included
        st.integers(1, 3),  # task
    ),
    max_size=60,
)


def _rows(events: list[tuple[Kind, int, int, int]]) -> list[Row]:
    first = [attach(), mapped(_PAGES, alloc=1), found(_PAGES, alloc=2)]
    return first + [row(10 + i, k, page, alloc=a, task=task) for i, (k, a, page, task) in enumerate(events)]


@given(_EVENTS)
def test_any_events_keep_the_books(events: list[tuple[Kind, int, int, int]]) -> None:
    rows = _rows(events)
    tracker = PageTracker()
    done = tracker.update(from_rows(rows))
    lives = done.lives
    for state in all_states(tracker, done):
        counts = (state.free, state.active, state.lru, state.unknown)
        assert min(counts) >= 0
        assert sum(counts) == state.mapping_pages
        assert all(n >= 0 for n in astuple(state) if isinstance(n, int))
        if not state.released:
            states = tracker.page_states(state.alloc)
            assert tuple(int((states == s).sum()) for s in State) == counts
        ours = lives[lives["alloc"] == state.alloc]
        installed = int((ours["began"] == Began.INSTALLED).sum())
        alive = tracker.alive()
        installed += int(((alive["alloc"] == state.alloc) & (alive["began"] == Began.INSTALLED)).sum())
        assert installed == state.installs
    assert (lives["active_ns"] + lives["lru_ns"] <= lives["end_ns"] - lives["birth_ns"]).all()


@given(_EVENTS, st.data())
def test_batches_may_be_split_anywhere(events: list[tuple[Kind, int, int, int]], data: st.DataObject) -> None:
    whole = from_rows(_rows(events))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    one, many = PageTracker(), PageTracker()
    expected = one.update(whole)
    got = [many.update(whole.slice(a, b)) for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    for rows in ("lives", "spans", "installs"):
        assert np.concatenate([getattr(g, rows) for g in got]).tolist() == getattr(expected, rows).tolist()
    assert all_states(many, *got) == all_states(one, expected)
    assert many.unexplained() == one.unexplained()
    assert many.alive().tolist() == one.alive().tolist()
    assert many.open_spans().tolist() == one.open_spans().tolist()
    assert many.open_installs().tolist() == one.open_installs().tolist()


@given(_EVENTS)
def test_without_spans_the_rest_is_the_same(events: list[tuple[Kind, int, int, int]]) -> None:
    whole = from_rows(_rows(events))
    full, bare = PageTracker(), PageTracker(spans=False)
    expected, got = full.update(whole), bare.update(whole)
    assert (len(got.spans), len(got.installs)) == (0, 0)
    assert got.lives.tolist() == expected.lives.tolist()
    assert all_states(bare, got) == all_states(full, expected)
    assert bare.unexplained() == full.unexplained()


def test_an_empty_batch_is_nothing() -> None:
    tracker = PageTracker()
    empty: EventBatch = from_rows([])
    assert len(tracker.update(empty).lives) == 0
    assert list(tracker.allocs()) == []

"""Frames: rates, idle time, histories."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from binder_observe.top.frame import GONE_NS, HISTORY_POINTS, Rates
from tests.build import attach, install, mapped, park, reclaim, release
from tests.top.build import Looks, S, busy, three_processes


def test_rates_are_differences_over_the_time_between_two_looks() -> None:
    looks = Looks()
    first = looks.look(S, attach(), mapped(), install(1), park(3))
    assert first.rows[0].rates is None  # nothing to compare with
    second = looks.look(3 * S, busy(2 * S, 10), reclaim(2 * S + 50))
    assert second.rows[0].rates == Rates(installs=0, reuses=5, reclaims=0.5)
    assert looks.look(4 * S).rows[0].rates == Rates(0, 0, 0)


def test_a_second_look_at_the_same_moment_keeps_the_rates() -> None:
    looks = Looks()
    looks.look(S, attach(), mapped(), install(1), park(3))
    before = looks.look(2 * S, busy(S, 4))
    again = looks.look(2 * S)
    assert again.rows[0].rates == before.rows[0].rates
    assert again.rows[0].history == before.rows[0].history


def test_a_mapping_that_is_new_has_done_everything_since_the_last_look() -> None:
    looks = Looks()
    looks.look(S, attach())
    frame = looks.look(2 * S, mapped(ts=S + 1), install(S + 2, 0), install(S + 4, 1))
    assert frame.rows[0].rates == Rates(2, 0, 0)


def test_pages_idle_on_between_events() -> None:
    looks = Looks()
    looks.look(S, attach(), mapped(), install(0, 0), install(2, 1), park(S, 0), park(S, 1))
    assert looks.look(4 * S).rows[0].idle_page_s == 2 * 3.0
    assert looks.look(6 * S, reclaim(5 * S, 0)).rows[0].idle_page_s == 4 + 5


def test_pages_are_those_of_the_tracker() -> None:
    looks = Looks()
    frame = looks.look(S, *three_processes())
    for row in frame.rows:
        alloc = row.process.state.alloc
        assert row.pages == looks.observation.tracker.page_states(alloc).tobytes()


def test_gone_mappings_keep_their_counts_and_lose_their_map_then_their_history() -> None:
    looks = Looks()
    looks.look(S, attach(), mapped(), install(1))
    row = looks.look(2 * S, release(S + 5)).rows[0]
    assert (row.process.state.installs, row.pages, row.rates) == (1, b"", Rates(0, 0, 0))
    assert [p.active for p in row.history] == [1]
    assert looks.look(2 * S + GONE_NS).rows[0].history == ()
    assert not list(looks.frame.live()) if looks.frame else False


def test_histories_are_bounded() -> None:
    looks = Looks()
    looks.look(0, attach(), mapped())
    for i in range(HISTORY_POINTS + 10):
        frame = looks.look(i * S)
    history = frame.rows[0].history
    assert len(history) == HISTORY_POINTS
    assert history[-1].ts_ns == frame.now_ns


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 3)), max_size=12))
def test_rates_times_time_are_the_counts(steps: list[tuple[int, int]]) -> None:
    looks = Looks()
    now = looks.look(0, attach(), mapped(), install(0), park(2)).now_ns
    total = 0.0
    for wait, reuses in steps:
        before, now = now, now + 2 * reuses + wait
        rates = looks.look(now, busy(before, reuses)).rows[0].rates
        assert rates is not None
        total += rates.reuses * (now - before) / 1e9
    assert looks.frame is not None
    assert round(total, 6) == looks.frame.rows[0].process.state.reuses

"""Lifetime summaries against brute force and against durations whose distribution is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from binder_observe.lifetimes import LifetimeSummary, bin_upper_ns, duration_bin, product_limit
from binder_observe.rows import LIFE, Began, Ended


def lives(
    durations: list[int], ended: Ended = Ended.RECLAIMED, began: Began = Began.INSTALLED, alloc: int = 1
) -> NDArray[np.void]:
    rows = np.zeros(len(durations), dtype=LIFE)
    rows["alloc"], rows["began"], rows["ended"] = alloc, began, ended
    rows["birth_ns"], rows["end_ns"] = 1000, 1000 + np.array(durations, dtype=np.int64)
    return rows


@given(st.integers(0, 1 << 52))
def test_a_bin_is_narrow_and_holds_its_durations(duration: int) -> None:
    index = int(duration_bin(np.array([duration]))[0])
    upper = bin_upper_ns(index)
    assert duration <= upper <= duration + duration // 128
    assert int(duration_bin(np.array([upper]))[0]) == index
    assert int(duration_bin(np.array([upper + 1]))[0]) == index + 1


def brute_force(ended: list[int], censored: list[int], p: float) -> int | None:
    """Kaplan and Meier from their definition, life by life."""
    survival = 1.0
    for t in sorted(set(ended)):
        at_risk = sum(d >= t for d in ended) + sum(d >= t for d in censored)
        survival *= 1 - ended.count(t) / at_risk
        if survival <= 1 - p + 1e-12:
            return t
    return None


@given(st.lists(st.integers(0, 100), max_size=30), st.lists(st.integers(0, 100), max_size=30))
def test_product_limit_equals_brute_force(ended: list[int], censored: list[int]) -> None:
    """Durations under 128 ns have a bin each, so the estimate is exact there."""
    found = product_limit(
        {d: ended.count(d) for d in ended}, {d: censored.count(d) for d in censored}, (0.5, 0.9, 0.99)
    )
    assert found == tuple(brute_force(ended, censored, p) for p in (0.5, 0.9, 0.99))


def test_censored_lives_count() -> None:
    """Exponential lives of mean 1 s, cut at 1 s: their finished ones alone would say a median of 0.38 s."""
    durations = np.random.default_rng(1).exponential(1e9, 100_000).astype(np.int64)
    summary = LifetimeSummary()
    summary.add(lives(durations[durations < 1e9].tolist()))
    summary.add(lives([10**9] * int((durations >= 1e9).sum()), Ended.ALIVE))
    q = summary.quantiles()[1]
    assert q.p50 == pytest.approx(np.log(2) * 1e9, rel=0.02)
    assert q.p90 is None
    assert q.max == durations[durations < 1e9].max()


def test_left_truncated_lives_have_no_duration() -> None:
    summary = LifetimeSummary()
    summary.add(lives([5, 6], began=Began.BEFORE_ATTACH))
    assert summary.quantiles() == {}
    assert summary.counts(1)[Began.BEFORE_ATTACH, Ended.RECLAIMED] == 2


def test_nothing_finished() -> None:
    summary = LifetimeSummary()
    summary.add(lives([5, 6], Ended.ALIVE))
    q = summary.quantiles()[1]
    assert (q.p50, q.p90, q.p99, q.max) == (None, None, None, 0)


def test_no_quantile_is_longer_than_the_longest_life() -> None:
    summary = LifetimeSummary()
    summary.add(lives([1_000_001] * 3, alloc=7))
    assert summary.quantiles()[7].p99 == summary.quantiles()[7].max == 1_000_001


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 1000), st.sampled_from(Ended)), max_size=40),
    st.integers(0, 40),
)
def test_parts_add_up(rows: list[tuple[int, int, Ended]], cut: int) -> None:
    def summarize(*parts: list[tuple[int, int, Ended]]) -> LifetimeSummary:
        summary = LifetimeSummary()
        for part in parts:
            summary.add(np.concatenate([lives([], alloc=1), *(lives([d], e, alloc=a) for a, d, e in part)]))
        return summary

    whole, split = summarize(rows), summarize(rows[:cut], rows[cut:])
    assert whole.quantiles() == split.quantiles()
    assert all((whole.counts(a) == split.counts(a)).all() for a in (1, 2, 3))

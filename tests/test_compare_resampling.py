"""Whether the confidence is what it says: on data whose truth is known, with seeds that are fixed."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from binder_observe.comparison import resampling
from binder_observe.comparison.slices import Histogram, duration_bins

METRICS = 400
Floats = NDArray[np.float64]


def bursts(rng: np.random.Generator, slices: int, rate: float = 6.0) -> Floats:
    """Events that come in bursts of a few dozen: what reclaim and large buffers make."""
    return rng.poisson(rate, (METRICS, slices)).astype(np.float64) * rng.geometric(1 / 20, (METRICS, slices))


def p_of(a: Floats, b: Floats) -> Floats:
    ones = [np.ones_like(side) for side in (a, b)]
    pooled = (a.sum(axis=1) + b.sum(axis=1)) / (a.shape[1] + b.shape[1])
    return resampling.p_values(*(resampling.departures(x, n, pooled) for x, n in zip((a, b), ones, strict=True)))


@pytest.mark.parametrize(("n_a", "n_b"), [(20, 20), (20, 45)])
def test_recordings_that_are_alike_differ_in_one_of_twenty(n_a: int, n_b: int) -> None:
    rng = np.random.default_rng(7)
    a, b = bursts(rng, n_a), bursts(rng, n_b)
    p = p_of(a, b)
    assert 0.02 < (p < 0.05).mean() < 0.085
    assert 0.35 < (p < 0.5).mean() < 0.65
    # events taken one by one would cry wolf most of the time: this is why slices are the units
    rate_a, rate_b = a.mean(axis=1), b.mean(axis=1)
    naive = np.abs(rate_b - rate_a) / np.sqrt(rate_a / n_a + rate_b / n_b)
    assert (naive > 1.96).mean() > 0.5


def test_shares_are_tested_as_ratios() -> None:
    rng = np.random.default_rng(8)
    whole = [bursts(rng, 20) + 1, 3 * bursts(rng, 20) + 1]  # three times as much in b, of which the same share
    part = [rng.binomial(n.astype(int), 0.2).astype(np.float64) for n in whole]
    pooled = (part[0].sum(axis=1) + part[1].sum(axis=1)) / (whole[0].sum(axis=1) + whole[1].sum(axis=1))
    p = resampling.p_values(*(resampling.departures(x, n, pooled) for x, n in zip(part, whole, strict=True)))
    assert 0.015 < (p < 0.05).mean() < 0.09


def test_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(9)
    drawn = []
    for seed, factor in enumerate((1.0, 1.3)):
        x = bursts(rng, 20) * factor
        values, distribution = resampling.ratios(x, np.ones_like(x), seed=seed)
        assert values == pytest.approx(x.mean(axis=1))
        drawn.append(distribution)
    bounds = [resampling.interval(b / a) for a, b in zip(*drawn, strict=True)]
    held = [low <= 1.3 <= high for low, high in bounds]  # type: ignore[misc, operator]
    assert 0.88 < np.mean(held) < 0.985


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(10)
    p = p_of(bursts(rng, 20), 4 * bursts(rng, 20))
    assert (p < 0.05).mean() > 0.8


def test_nothing_that_varies_is_no_difference() -> None:
    flat, other = np.full((1, 20), 3.0), np.full((1, 20), 4.0)
    assert resampling.p_values(flat, flat)[0] == 1
    assert resampling.p_values(flat, other)[0] < 0.001


def test_the_p_value_is_that_of_all_permutations() -> None:
    rng = np.random.default_rng(11)
    a, b = rng.exponential(1, (1, 5)), rng.exponential(3, (1, 6))
    pool = np.concatenate([a[0], b[0]])

    def welch(of_a: tuple[int, ...]) -> float:
        x, y = pool[list(of_a)], np.delete(pool, of_a)
        return float((y.mean() - x.mean()) / np.sqrt(x.var(ddof=1) / len(x) + y.var(ddof=1) / len(y)))

    seen = welch(tuple(range(5)))
    every = np.array([welch(of_a) for of_a in combinations(range(11), 5)])
    tail = min((every >= seen - 1e-12).mean(), (every <= seen + 1e-12).mean())
    assert resampling.p_values(a, b)[0] == pytest.approx(min(2 * tail, 1))


def one_a_slice(durations: NDArray[np.int64], ended: NDArray[np.bool_]) -> Histogram:
    """Every duration in a slice of its own."""
    bins, column = np.unique(duration_bins(durations), return_inverse=True)
    counts = np.zeros((2, len(durations), len(bins)), dtype=np.int64)
    counts[ended.astype(int), np.arange(len(durations)), column] = 1
    return Histogram(bins, counts[1], counts[0], int(durations[ended].max(initial=0)))


@pytest.mark.parametrize("factor", [1.0, 1.3, 1.6])
def test_scores_are_those_of_the_log_rank_test(factor: float) -> None:
    rng = np.random.default_rng(int(10 * factor))
    sides: list[tuple[NDArray[np.int64], NDArray[np.bool_]]] = []
    for scale in (100, 100 * factor):
        lasted, limit = (rng.exponential(s, 70).astype(np.int64) for s in (scale, 250))
        sides.append((np.minimum(lasted, limit), lasted <= limit))
    a, b = (one_a_slice(*side) for side in sides)
    scores = resampling.log_rank_scores(a, b)
    assert scores[0].sum() == pytest.approx(-scores[1].sum())
    censored: list[Any] = [stats.CensoredData.right_censored(d, ~ended) for d, ended in sides]
    oracle = stats.logrank(*censored)
    # from as many durations, the permutation test and the normal limit of scipy's agree
    assert resampling.p_values(scores[0][None], scores[1][None])[0] == pytest.approx(oracle.pvalue, abs=0.03)


def test_quantiles_and_their_intervals() -> None:
    rng = np.random.default_rng(12)
    held = 0
    for _ in range(60):
        lasted = rng.exponential(1000, 200).astype(np.int64)
        histogram = one_a_slice(np.minimum(lasted, 1500), lasted <= 1500)
        (p50, p99), (drawn, drawn99) = resampling.quantiles(histogram, (0.5, 0.99), seed=0)
        assert 0 <= p50 - np.sort(lasted)[99] <= p50 / 128
        assert np.isinf(p99)
        assert resampling.interval(drawn99) == (None, None)
        low, high = np.array(resampling.interval(drawn))
        held += low <= 1000 * np.log(2) <= high
    assert 50 <= held < 60


def test_intervals_of_what_is_not_there() -> None:
    assert resampling.interval(np.full(100, np.nan)) is None
    assert resampling.interval(np.array([1.0] * 90 + [np.inf] * 10)) == (1.0, None)
    none = np.zeros((5, 0), dtype=np.int64)
    empty = Histogram(none[0], none, none, 0)
    assert np.isnan(resampling.quantiles(empty, (0.5,), seed=0)[0]).all()


def test_many_tests_pay_for_their_number() -> None:
    p = np.array([0.001, 0.04, 0.04, 0.9])
    assert resampling.adjusted(p) == pytest.approx([0.004, 0.16 / 3, 0.16 / 3, 0.9])
    assert not len(resampling.adjusted(np.array([])))

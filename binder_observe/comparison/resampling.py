"""Confidence from time slices.

Events of one moment belong together (the pages of a buffer move together, a reclaim takes many), so counting each as
an observation of its own would promise far too much. Time slices longer than such bursts are nearly independent: the
bootstrap and the permutation test take them, never single events, as their units.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from binder_observe.comparison.slices import Histogram
from binder_observe.lifetimes.durations import bin_upper_ns

Floats = NDArray[np.float64]

SEED: Final = 20240917  # fixed: the same two recordings give the same answer
BOOTSTRAPS: Final = 1999
QUANTILE_BOOTSTRAPS: Final = 499
PERMUTATIONS: Final = 9999
_LEVEL: Final = (0.025, 0.975)


def ratios(numerators: Floats, denominators: Floats, *, seed: int) -> tuple[Floats, Floats]:
    """Sum over sum, by metric, and its bootstrap distribution over slices.

    Both arguments have shape (metrics, slices); returns shapes (metrics,) and (metrics, BOOTSTRAPS). NaN where the
    denominator is 0. Two recordings take two seeds, or their intervals would move together.
    """
    both = np.stack([numerators, denominators])

    def ratio(sample: Floats, axis: int) -> Any:
        part, whole = sample.sum(axis=axis)
        return divide(part, whole)

    return ratio(both, -1), _bootstrap(both, ratio, BOOTSTRAPS, seed)


def quantiles(histogram: Histogram, probabilities: tuple[float, ...], *, seed: int) -> tuple[Floats, Floats]:
    """Kaplan-Meier quantiles in ns, and their bootstrap distribution over slices.

    Returns shapes (probabilities,) and (probabilities, QUANTILE_BOOTSTRAPS): infinite where censored durations hide it,
    NaN where there is no duration at all. The estimator is that of `lifetimes.durations.product_limit`.
    """
    slices, n_bins = histogram.ended.shape
    if not n_bins:
        return np.full(len(probabilities), np.nan), np.full((len(probabilities), QUANTILE_BOOTSTRAPS), np.nan)
    total = histogram.ended + histogram.censored
    steps = np.flatnonzero(histogram.ended.any(axis=0))  # the survival falls in no other bin
    upper = np.array([min(bin_upper_ns(int(b)), histogram.longest) for b in histogram.bins[steps]] + [np.inf])
    ended = histogram.ended[:, steps].astype(np.float64)
    at_risk = np.cumsum(total[:, ::-1], axis=1)[:, ::-1][:, steps].astype(np.float64)
    count = total.sum(axis=1)

    def estimate(drawn: NDArray[np.intp], axis: int) -> Floats:
        """From the numbers of the slices drawn, shape (draws, slices), to shape (probabilities, draws)."""
        rows = np.atleast_2d(drawn).astype(np.intp) + np.arange(len(np.atleast_2d(drawn)))[:, None] * slices
        times = np.bincount(rows.ravel(), minlength=len(rows) * slices).reshape(len(rows), slices).astype(np.float64)
        # einsum, not @: threads of a BLAS cost more than they bring for matrices as small as these
        d, n = (np.einsum("ds,sb->db", times, by_slice) for by_slice in (ended, at_risk))
        survival = np.cumprod(1 - d / np.maximum(n, 1), axis=1)
        found = []
        for p in probabilities:
            # survival descends: how many bins it takes until it is low enough
            first = (survival > 1 - p + 1e-12).sum(axis=1)
            found.append(np.where(times @ count > 0, upper[first], np.nan))
        return np.array(found)

    whole = np.arange(slices)
    return estimate(whole, -1)[:, 0], _bootstrap(whole, estimate, QUANTILE_BOOTSTRAPS, seed)


def _bootstrap(data: NDArray[Any], statistic: Callable[[Any, int], Floats], draws: int, seed: int) -> Floats:
    """What `statistic` becomes when the slices (last axis) are drawn with replacement, as often as there are
    (Efron, Ann. Statist. 7, 1979, 1-26)."""
    # its own interval and error would be NaN where no event happened; `interval` has an answer to that
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        drawn = stats.bootstrap(
            (data,), statistic, vectorized=True, axis=-1, n_resamples=draws, batch=200, method="percentile",
            random_state=SEED + seed,
        )  # fmt: skip
    return np.asarray(drawn.bootstrap_distribution)


def interval(distribution: Floats) -> tuple[float | None, float | None] | None:
    """The middle 95 % of a bootstrap distribution; a bound that is infinite is None, and so is the whole where a
    slice more or less would leave nothing to compute it from."""
    if np.isnan(distribution).mean() > 1 - (_LEVEL[1] - _LEVEL[0]):
        return None
    low, high = np.nanquantile(distribution, _LEVEL, method="nearest")
    return (float(low) if np.isfinite(low) else None, float(high) if np.isfinite(high) else None)


def departures(numerators: Floats, denominators: Floats, pooled: Floats) -> Floats:
    """How far each slice takes the ratio of its recording from `pooled`, the ratio of both; shape (metrics, slices)."""
    mean = denominators.mean(axis=-1, keepdims=True)
    return np.asarray(divide(numerators - pooled[:, None] * denominators, mean))


def log_rank_scores(a: Histogram, b: Histogram) -> tuple[Floats, Floats]:
    """By slice, durations that ended less those expected were both recordings alike; divided by the mean number of
    durations in a slice. Summed over one recording, the scores are the numerator of the log-rank test (Mantel, Cancer
    Chemother. Rep. 50, 1966, 163-170), with durations rounded to their bins. Shapes (slices,).
    """
    bins = np.union1d(a.bins, b.bins)

    def spread(histogram: Histogram, counts: NDArray[np.int64]) -> Floats:
        wide = np.zeros((len(counts), len(bins)))
        wide[:, np.searchsorted(bins, histogram.bins)] = counts
        return wide

    ended = [spread(h, h.ended) for h in (a, b)]
    total = [spread(h, h.ended) + spread(h, h.censored) for h in (a, b)]
    at_risk = np.cumsum((total[0].sum(axis=0) + total[1].sum(axis=0))[::-1])[::-1]
    hazard = np.cumsum(divide(ended[0].sum(axis=0) + ended[1].sum(axis=0), at_risk))
    scores = [divide(e.sum(axis=1) - t @ hazard, t.sum() / len(t)) for e, t in zip(ended, total, strict=True)]
    return scores[0], scores[1]


def p_values(a: Floats, b: Floats) -> Floats:
    """Two-sided p-values of the permutation test that the slices of both recordings are alike.

    Both arguments have shape (metrics, slices); the numbers of slices may differ. The statistic is Welch's
    t, which keeps the test right where only the spreads differ (Janssen, Statist. Probab.
    Lett. 36, 1997, 9-21).
    """

    slices = np.concatenate([a, b], axis=1)
    largest = np.abs(slices).max(axis=1)
    powers = np.concatenate([slices, slices**2]).T  # shape (slices, 2 x metrics)

    def mean_and_error(chosen: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Of the slices by number, shape (draws, slices of one side); returns shapes (draws, metrics)."""
        n = chosen.shape[1]
        taken = np.zeros((len(chosen), len(powers)))
        np.put_along_axis(taken, chosen, 1.0, axis=1)
        mean, square = np.split(np.einsum("ds,sm->dm", taken, powers) / n, 2, axis=1)
        return mean, np.maximum(square - mean**2, 0) / (n - 1)

    def welch(x: NDArray[np.intp], y: NDArray[np.intp], axis: int) -> Floats:
        (mean_x, error_x), (mean_y, error_y) = (mean_and_error(np.atleast_2d(side)) for side in (x, y))
        difference = mean_y - mean_x
        # where nothing varies, rounding alone must not make a difference, and any other is beyond all permutations
        t = difference / np.sqrt(np.maximum(error_x + error_y, 1e-20 * largest**2 + 1e-300))
        t[np.abs(difference) <= 1e-12 * largest] = 0
        return np.asarray(t if x.ndim > 1 else t[0])

    numbers = np.arange(slices.shape[1])
    tested = stats.permutation_test(
        (numbers[: a.shape[1]], numbers[a.shape[1] :]), welch, vectorized=True, axis=-1,
        n_resamples=PERMUTATIONS, batch=500, random_state=SEED,
    )  # fmt: skip
    return np.asarray(tested.pvalue)


def adjusted(p: Floats) -> Floats:
    """p-values for many metrics at once: a bound on the share of false discoveries among all that are as small
    (Benjamini and Hochberg, J. R. Stat. Soc. B 57, 1995, 289-300)."""
    return np.asarray(stats.false_discovery_control(p)) if len(p) else p


def divide(part: Any, whole: Any) -> Any:
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole == 0, np.nan, part / whole)

"""Durations in bins, and their quantiles from finished and censored ones together. All in ns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

# Durations are kept in log-linear bins, as HdrHistogram does: 2**BIN_BITS bins an octave, so that a quantile is at
# most 1/128 above the true one. (http://hdrhistogram.org)
BIN_BITS: Final = 7
PROBABILITIES: Final = (0.5, 0.9, 0.99)
Z_95: Final = 1.959963984540054  # of a two-sided 95 % interval of the normal distribution
NONE: Final = -1  # stands for a quantile that is not reached

_MANTISSA_BITS: Final = 52
_EXPONENT_BIAS: Final = 1023
_FIRST: Final = (_EXPONENT_BIAS + BIN_BITS - 1) << BIN_BITS
# absorbs rounding of the product, far below one life in any count
_TOLERANCE: Final = 1e-12


@numba.njit(cache=True, inline="always")
def bin_of(duration):  # type: ignore[no-untyped-def]  # compiled
    """The bin of a duration; those under 2**BIN_BITS ns have one each.

    From there on a bin is the exponent and the first BIN_BITS bits of the mantissa of the duration as a float64, which
    is exact up to 2**53 ns (104 days).
    """
    index: Any = max(np.int64(duration), 0)
    if index >= 1 << BIN_BITS:
        index = (np.float64(index).view(np.int64) >> (_MANTISSA_BITS - BIN_BITS)) - _FIRST
    return index


@numba.njit(types.int64(types.int64), cache=True)
def duration_bin(duration_ns: int) -> int:
    """`bin_of` for callers that are not compiled."""
    return bin_of(duration_ns)  # type: ignore[no-any-return]


def bin_upper_ns(index: int) -> int:
    """The longest duration that falls into bin `index`."""
    shift = max((index >> BIN_BITS) - 1, 0)
    return ((index - (shift << BIN_BITS) + 1) << shift) - 1


def bins_upper_ns(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """`bin_upper_ns` of each; of a negative one it means nothing."""
    shift = np.maximum((index >> BIN_BITS) - 1, 0)
    return np.asarray(((index - (shift << BIN_BITS) + 1) << shift) - 1)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Quantiles of a duration in ns, from finished and censored ones together.

    None where too many still go on to tell. Each `_ci` is a 95 % confidence interval (see `product_limit`): a bound
    that is not reached is None, and the whole interval is None where nothing ended.
    """

    p50: int | None
    p90: int | None
    p99: int | None
    max: int  # the longest that ended, exact; 0 when none ended
    n: int = 0  # durations, the censored ones included
    censored: int = 0
    p50_ci: tuple[int | None, int | None] | None = None
    p90_ci: tuple[int | None, int | None] | None = None
    p99_ci: tuple[int | None, int | None] | None = None


_INT64S: Final = types.Array(types.int64, 1, "C", readonly=True)


@numba.njit(types.void(_INT64S, _INT64S, _INT64S, types.Array(types.int64, 2, "C")), cache=True)
def product_limit(
    bins: NDArray[np.int64], ended: NDArray[np.int64], censored: NDArray[np.int64], found: NDArray[np.int64]
) -> None:
    """Quantiles of a duration, and their 95 % confidence intervals, in one pass.

    `ended` and `censored` say how many durations ended or were censored in each of `bins`, which ascend. `found`,
    shape (len(PROBABILITIES), 3), gets (quantile, low, high) as bins, NONE where it is not reached.

    The estimator is Kaplan and Meier's product limit (J. Am. Stat. Assoc. 53, 1958, 457-481): at each bin the survival
    falls by the share of the durations at risk that end there; those censored in a bin are still at risk in it. The
    quantile p is the first bin with survival <= 1 - p. Its interval inverts the pointwise intervals of the survival
    (Brookmeyer and Crowley, Biometrics 38, 1982, 29-41): from the first bin where the lower limit is <= 1 - p to the
    first where the upper one is. Those have Greenwood's variance on the scale of log(-log(survival)) (Kalbfleisch and
    Prentice, The Statistical Analysis of Failure Time Data, 1980), as in lifelines. Where the survival is 0 the
    variance is undefined: the lower limit is 0 and the upper one stays what it was.
    """
    found[:] = NONE
    at_risk = ended.sum() + censored.sum()
    survival = 1.0
    variance = 0.0
    limits = np.ones(3)  # the survival, its lower and its upper limit
    for i in range(len(bins)):
        d = ended[i]
        if d:
            survival *= 1.0 - d / at_risk
            limits[:2] = survival
            if d < at_risk:
                variance += d / (at_risk * (at_risk - d))
                width = Z_95 * np.sqrt(variance) / -np.log(survival)
                limits[1] = survival ** np.exp(width)
                limits[2] = survival ** np.exp(-width)
            for p in range(len(PROBABILITIES)):
                for which in range(3):
                    if found[p, which] == NONE and limits[which] <= 1.0 - PROBABILITIES[p] + _TOLERANCE:
                        found[p, which] = bins[i]
        at_risk -= d + censored[i]


def quantiles(
    bins: NDArray[np.int64], ended: NDArray[np.int64], censored: NDArray[np.int64], longest: int
) -> Quantiles:
    """From counts by bin (ascending) and the longest duration that ended, which is known exactly."""
    found = np.empty((len(PROBABILITIES), 3), dtype=np.int64)
    product_limit(bins, ended, censored, found)
    n_ended, n_censored = int(ended.sum()), int(censored.sum())

    def ns(p: int, which: int) -> int | None:
        index = int(found[p, which])
        # a bin's upper bound may lie above the longest duration that ended in it
        return None if index == NONE else min(bin_upper_ns(index), longest)

    def interval(p: int) -> tuple[int | None, int | None] | None:
        return (ns(p, 1), ns(p, 2)) if n_ended else None

    return Quantiles(
        p50=ns(0, 0), p90=ns(1, 0), p99=ns(2, 0), max=longest, n=n_ended + n_censored, censored=n_censored,
        p50_ci=interval(0), p90_ci=interval(1), p99_ci=interval(2),
    )  # fmt: skip

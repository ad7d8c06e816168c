"""Random quantities, drawn from tables of quantiles.

A draw costs one random number and one look-up. Tables and draws use only `Random.random()` and arithmetic, which
Python promises to keep, so a seed means the same bytes on every machine.
"""

from __future__ import annotations

from math import exp, log
from random import Random
from statistics import NormalDist
from typing import Final, TypeAlias

QUANTILES: Final = 1024

Distribution: TypeAlias = tuple[int, ...]
"""`QUANTILES` values in ascending order; each is as likely as the others."""


def draw(distribution: Distribution, random: Random) -> int:
    return distribution[int(random.random() * QUANTILES)]


def _middle(i: int) -> float:
    return (i + 0.5) / QUANTILES


def constant(value: float) -> Distribution:
    return (round(value),) * QUANTILES


def uniform(low: float, high: float) -> Distribution:
    return tuple(round(low + (high - low) * _middle(i)) for i in range(QUANTILES))


def exponential(mean: float) -> Distribution:
    """Times between independent events."""
    return tuple(round(-mean * log(1 - _middle(i))) for i in range(QUANTILES))


def lognormal(median: float, sigma: float) -> Distribution:
    """Sizes and service times: a median, and a tail that `sigma` stretches."""
    inv_cdf = NormalDist().inv_cdf
    return tuple(round(median * exp(sigma * inv_cdf(_middle(i)))) for i in range(QUANTILES))


def pareto(minimum: float, shape: float, maximum: float) -> Distribution:
    """A heavy tail from `minimum`, cut at `maximum`."""
    return tuple(min(round(minimum / (1 - _middle(i)) ** (1 / shape)), round(maximum)) for i in range(QUANTILES))


def choice(parts: list[Distribution], weights: list[float]) -> Distribution:
    """One of several by weight; a constant among them is one value."""
    total = sum(weights)
    table: list[int] = []
    reached = 0.0
    for part, weight in zip(parts, weights, strict=True):
        reached += weight
        count = round(QUANTILES * reached / total) - len(table)
        table.extend(part[int((i + 0.5) / count * QUANTILES)] for i in range(count))
    return tuple(sorted(table))

"""Fewer points that draw the same: step functions of a million changes as small pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POINTS = 5000  # in one plot: an SVG has about 50 bytes for each point of a step function


def decimate(x: Floats, y: Floats, points: int = POINTS) -> NDArray[np.intp]:
    """Indices, in order, of at most about `points` points that draw the same step function as all of them: the least,
    the greatest and the last of each pixel column, and the first of all. `x` is sorted."""
    n = len(x)
    if n <= points:
        return np.arange(n)
    columns = max(points // 3, 1)
    width = (x[-1] - x[0]) or 1.0
    column = np.minimum(((x - x[0]) / width * columns).astype(np.intp), columns - 1)
    begins = np.flatnonzero(np.diff(column, prepend=-1))
    ends = np.append(begins[1:], n)
    parts = [(begin, y[begin:end]) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    least = [begin + part.argmin() for begin, part in parts]
    greatest = [begin + len(part) - 1 - part[::-1].argmax() for begin, part in parts]
    return np.unique(np.concatenate([[0], least, greatest, ends - 1]))


def total(parts: list[tuple[NDArray[np.int64], Floats]]) -> tuple[NDArray[np.int64], Floats]:
    """The sum of step functions (times, values that hold from then on), each 0 before its first time."""
    times = np.concatenate([t for t, _ in parts])
    changes = np.concatenate([np.diff(values, prepend=0.0) for _, values in parts])
    order = np.argsort(times, kind="stable")
    times, sums = times[order], np.cumsum(changes[order])
    last = np.append(np.diff(times) != 0, True)
    return times[last], sums[last]


def floats(column: pd.Series[Any]) -> Floats:
    """A column as floats, NA as NaN."""
    return column.to_numpy(dtype=np.float64, na_value=np.nan)

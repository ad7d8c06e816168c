"""How long lives and spans last, from finished and unfinished ones together.

The estimator is Kaplan and Meier's product limit (J. Am. Stat. Assoc. 53, 1958, 457-481). What goes on at the end is
right-censored: it counts as at risk up to the age that it reached. What came under observation at a known age
(delayed entry, `window()`) is at risk from then on only (Klein and Moeschberger, Survival Analysis, 2nd ed. 2003,
section 4.6). At each age: those at risk entered before it, or were there from birth, and reached it; ends come before
censorings of the same age. Rows of unknown birth or start are left out: they have no age, and the time for which they
were seen is length-biased.

Intervals are 95 %, pointwise: Greenwood's variance (Reports on Public Health and Medical Subjects 33, 1926) on the
log(-log) scale (Kalbfleisch and Prentice, The Statistical Analysis of Failure Time Data, 1980). There is none where
survival is 1 or 0, because the variance says nothing there. Limits of a quantile are where those of the curve cross
it (Brookmeyer and Crowley, Biometrics 38, 1982, 29-41).

With delayed entry few may be at risk at young ages; when all of those end, the estimate is 0 from there on, whatever
comes after (Klein and Moeschberger warn of it). `at_risk` shows it. lifelines refuses such data, and any risk set
that is empty for a while, so it serves as the judge in tests only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from binder_observe.errors import ObserveError
from binder_observe.frames.columns import nullable

Z95: Final = 1.959963984540054  # the normal distribution's 97.5 % point
# Far below one life in any count, and above what rounding does to a product of survivals.
_ROUNDING: Final = 1e-12

Ages = NDArray[np.int64]


def df_survival(frame: pd.DataFrame, by: str | Sequence[str] = ()) -> pd.DataFrame:
    """The survival curve of a lives frame (to reclaim or release) or of a spans frame of one state (to its end).

    Rows by group, then age; the first of each group is age 0. The method is this module's.

    - the columns of `by`
    - duration_ns int64: age; at_risk, ended, censored int64: at that age
    - survival float64: the share that lasts longer than that; ci_low, ci_high float64: 95 %, NaN where there is none

    Raises ObserveError when it is neither frame, lacks a column of `by`, or mixes states.
    """
    curves = [(row, _curve(*ages)) for row, ages, _ in _groups(frame, by) if len(ages[0])]
    rows = np.repeat([row for row, _ in curves], [len(c["survival"]) for _, c in curves]).astype(np.intp)
    none = {name: values[:0] for name, values in _curve(*_NOBODY).items()}
    columns = {name: np.concatenate([none[name], *(c[name] for _, c in curves)]) for name in none}
    return _as(frame, {**_by_columns(frame, by, rows), **columns})


def df_quantiles(
    frame: pd.DataFrame, by: str | Sequence[str] = (), probabilities: Sequence[float] = (0.5, 0.9, 0.99)
) -> pd.DataFrame:
    """Quantiles of the duration of lives, or of spans of one state; one row a group, sorted. The method is this
    module's: quantile p is the first age with survival <= 1 - p.

    - the columns of `by`
    - n, ended, censored int64: rows of known birth or start; left_truncated int64: the others, which are left out
    - for each of `probabilities`, e.g. 0.5: p50_ns, p50_low_ns, p50_high_ns Int64: the quantile and its 95 % limits;
      NA where the curve, or its limit, does not fall so far

    Raises ObserveError as `df_survival`, and for a probability outside of 0 to 1.
    """
    for p in probabilities:
        if not 0 < p < 1:
            raise ObserveError(f"there is no quantile {p:g}: a probability lies between 0 and 1")
    names = ["n", "ended", "censored", "left_truncated"]
    for p in probabilities:
        names += [f"p{p * 100:g}_ns", f"p{p * 100:g}_low_ns", f"p{p * 100:g}_high_ns"]
    found: dict[str, list[int | None]] = {name: [] for name in names}
    rows = []
    for row, (entry, duration, ended), left_truncated in _groups(frame, by):
        curve = _curve(entry, duration, ended)
        n = int(ended.sum())
        values: list[int | None] = [len(ended), n, len(ended) - n, left_truncated]
        for p in probabilities:
            values += [_first(curve, side, 1 - p) for side in ("survival", "ci_low", "ci_high")]
        for name, value in zip(names, values, strict=True):
            found[name].append(value)
        rows.append(row)
    counts = {name: np.array(found[name], dtype=np.int64) for name in names[:4]}
    times = {name: _nullable_ns(found[name]) for name in names[4:]}
    return _as(frame, {**_by_columns(frame, by, np.array(rows, dtype=np.intp)), **counts, **times})


_NOBODY: Final = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_))


_BIRTH: Final = np.zeros(1, dtype=np.int64)


def _curve(entry: Ages, duration: Ages, ended: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """The product limit of one group; a row for each age at which somebody ended or was censored, and for 0."""
    both = np.sort(duration << 1 | ~ended)  # one sort of plain numbers is far quicker than one by two columns
    durations, censored = both >> 1, both & 1
    gone = np.flatnonzero(np.diff(durations, prepend=-1))  # before each age
    ages = durations[gone]
    if not len(ages) or ages[0]:
        ages, gone = np.concatenate([_BIRTH, ages]), np.concatenate([_BIRTH, gone])
    removed = np.diff(gone, append=len(durations))
    # who is there from birth is at risk at age 0, too
    late = np.sort(entry[entry > 0])
    at_risk = len(durations) - gone - (len(late) - np.searchsorted(late, ages, side="left"))
    ends = removed - np.diff(np.append(0, np.cumsum(censored))[np.append(gone, len(durations))])
    with np.errstate(divide="ignore", invalid="ignore"):
        survival = np.cumprod(1 - ends / np.maximum(at_risk, 1))
        variance = np.cumsum(np.where(ends > 0, ends / (at_risk * (at_risk - ends)), 0.0))
        log = np.log(survival)
        spread = np.exp(Z95 * np.sqrt(variance) / log)  # below 1
        none = (survival == 1) | (survival == 0)
        low = np.where(none, np.nan, np.exp(log / spread))
        high = np.where(none, np.nan, np.exp(log * spread))
    return {
        "duration_ns": ages,
        "at_risk": at_risk,
        "ended": ends,
        "censored": removed - ends,
        "survival": survival,
        "ci_low": low,
        "ci_high": high,
    }


def _first(curve: dict[str, NDArray[Any]], column: str, level: float) -> int | None:
    """The first age at which the column is at or below `level`."""
    below = curve[column] <= level + _ROUNDING
    return int(curve["duration_ns"][below.argmax()]) if below.any() else None


def _groups(
    frame: pd.DataFrame, by: str | Sequence[str]
) -> Iterator[tuple[int, tuple[Ages, Ages, NDArray[np.bool_]], int]]:
    """(a row of the group, (entry, duration, ended) of its rows with a known age, how many others), sorted."""
    known, entry, duration, ended = _durations(frame, _listed(by))
    if not len(frame):
        return
    code: NDArray[Any] = np.zeros(len(frame), dtype=np.intp)
    if _listed(by):
        code = frame.groupby(_listed(by), observed=True, dropna=False, sort=True).ngroup().to_numpy()
    order = np.argsort(code, kind="stable")
    cuts = np.flatnonzero(np.diff(code[order], prepend=-1)).tolist()
    for start, stop in zip(cuts, [*cuts[1:], len(code)], strict=True):
        group = order[start:stop]
        others = int((~known[group]).sum())
        # one that was under observation for no time at all was never at risk
        some = group[known[group] & ((entry[group] < duration[group]) | (entry[group] == 0))]
        yield int(group[0]), (entry[some], duration[some], ended[some]), others


def _durations(frame: pd.DataFrame, by: list[str]) -> tuple[NDArray[np.bool_], Ages, Ages, NDArray[np.bool_]]:
    """(age is known, entry, duration, ended) of each row."""
    missing = [name for name in by if name not in frame]
    if missing:
        raise ObserveError(f"the frame has no column {missing[0]} to group by; it has {', '.join(map(str, frame))}")
    if {"start_known", "end_known", "state", "duration_ns"} <= set(frame):
        if "state" not in by and frame["state"].nunique() > 1:
            raise ObserveError("these spans are of several states: choose one, or group by state")
        known = frame["start_known"].to_numpy(dtype=np.bool_)
        return known, np.zeros(len(frame), dtype=np.int64), _ns(frame, "duration_ns"), frame["end_known"].to_numpy()
    if {"entry_ns", "duration_ns", "ended"} <= set(frame):
        known = frame["duration_ns"].notna().to_numpy()
        ended = frame["ended"].isin(["reclaimed", "released"]).to_numpy()
        return known, _ns(frame, "entry_ns"), _ns(frame, "duration_ns"), ended
    raise ObserveError("survival needs the frame of df_lifetimes() or of df_spans()")


def _ns(frame: pd.DataFrame, column: str) -> Ages:
    return frame[column].to_numpy(dtype=np.int64, na_value=0)


def _listed(by: str | Sequence[str]) -> list[str]:
    return [by] if isinstance(by, str) else list(by)


def _as(frame: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    """A frame made of another carries on what that says of its source."""
    made = pd.DataFrame(columns)
    made.attrs = dict(frame.attrs)
    return made


def _by_columns(frame: pd.DataFrame, by: str | Sequence[str], rows: NDArray[np.intp]) -> dict[str, Any]:
    """The columns of `by` at the given rows, with their dtypes."""
    return {name: frame[name].iloc[rows].reset_index(drop=True) for name in _listed(by)}


def _nullable_ns(values: list[int | None]) -> pd.arrays.IntegerArray:
    missing = np.array([v is None for v in values], dtype=np.bool_)
    return nullable(np.array([v or 0 for v in values], dtype=np.int64), missing, "Int64")

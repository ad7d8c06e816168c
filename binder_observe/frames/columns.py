"""What every frame shares: the key columns, names of tasks, categories and nullable integers.

Each function takes arrays as long as the frame and gives one column, or a dict of columns in their order. The comm
columns of one history have the same categories, so that they can be compared with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from binder_observe.history import History
from binder_observe.tracker import AllocState

Integers = NDArray[Any]  # of any width
Columns = dict[str, Any]
P = ParamSpec("P")


Frame = Callable[Concatenate[History, P], pd.DataFrame]


def of_history(make: Frame[P]) -> Frame[P]:
    """A frame made of a history says in `attrs` its source, how many events were lost, and when the observation began.

    Plots mark simulated data by it, and count time from there.
    """

    @wraps(make)
    def marked(h: History, /, *args: P.args, **kwargs: P.kwargs) -> pd.DataFrame:
        frame = make(h, *args, **kwargs)
        frame.attrs |= {"source": h.meta.source, "lost_events": h.report.lost_events, "begin_ns": h.begin_ns}
        return frame

    return marked


def allocs(h: History) -> tuple[AllocState, ...]:
    """One a row of the frames that have one row an alloc, in the report's order: by pages held, then pid."""
    return tuple(sorted(h.allocs, key=lambda s: s.held_order))


def numbers(states: Sequence[AllocState]) -> NDArray[np.uint32]:
    """Their alloc numbers, for `keys()` and `places()`."""
    return np.array([s.alloc for s in states], dtype=np.uint32)


def places(among: Integers, alloc: Integers) -> NDArray[np.intp]:
    """Where each of `alloc` is in `among`, which holds all of them once: sums by alloc are
    `np.bincount(places(numbers(allocs(h)), rows["alloc"]), weights, minlength=len(among))`."""
    order = np.argsort(among, kind="stable")
    return order[np.searchsorted(among, alloc, sorter=order)] if len(among) else np.zeros(len(alloc), dtype=np.intp)


def keys(h: History, alloc: Integers) -> Columns:
    """pid UInt32 (the owner's), comm and context category, alloc uint32; of each of `alloc`."""
    place = places(numbers(h.allocs), alloc)
    pid = np.array([s.pid for s in h.allocs], dtype=np.uint32)
    contexts = sorted({s.context for s in h.allocs if s.context is not None})
    code = {name: i for i, name in enumerate(contexts)}
    context = np.array([-1 if s.context is None else code[s.context] for s in h.allocs], dtype=np.int32)
    names = _comms(h)
    named = {name: i for i, name in enumerate(names)}
    comm = np.array([-1 if s.comm is None else named[s.comm] for s in h.allocs], dtype=np.int32)
    return {
        "pid": nullable(pid[place], np.zeros(len(place), dtype=np.bool_), "UInt32"),
        "comm": category(comm, names).take(place),
        "context": category(context, contexts).take(place),
        "alloc": np.asarray(alloc, dtype=np.uint32),
    }


def task(h: History, role: str, tgid: Integers) -> Columns:
    """{role}_pid UInt32 and {role}_comm category, of tgids of which 0 is unknown."""
    return {f"{role}_pid": pid_or_na(tgid), f"{role}_comm": comm_of(h, tgid)}


def pid_or_na(tgid: Integers) -> pd.arrays.IntegerArray:
    """UInt32; NA for 0, which is unknown."""
    return nullable(tgid, tgid == 0, "UInt32")


def comm_of(h: History, tgid: Integers) -> pd.Categorical:
    """The name of each task; NA where it is not known."""
    names = _comms(h)
    code = {name: i for i, name in enumerate(names)}
    known = np.array(sorted(h.comms), dtype=np.uint32)
    codes = np.array([code[h.comms[int(t)]] for t in known], dtype=np.int32)
    if not len(known):
        return category(np.full(len(tgid), -1), names)
    at = np.minimum(np.searchsorted(known, tgid), len(known) - 1)
    return category(np.where(known[at] == tgid, codes[at], -1), names)


def _comms(h: History) -> list[str]:
    """Every name: a pid that was used again has had several."""
    return sorted({*h.comms.values(), *(s.comm for s in h.allocs if s.comm is not None)})


def category(codes: Integers, names: Sequence[str]) -> pd.Categorical:
    """Strings by their place in `names`; -1 is NA."""
    dtype = pd.CategoricalDtype(pd.Index(list(names), dtype=object))
    return pd.Categorical.from_codes(codes, dtype=dtype)  # type: ignore[arg-type]  # the stubs know lists only


def names_of(values: Integers, members: Sequence[IntEnum]) -> pd.Categorical:
    """Members of an enum as their lower-case names; the categories are `members`, in that order, which hold all."""
    code = np.full(max(members) + 1, -1, dtype=np.int8)
    code[list(members)] = np.arange(len(members))
    return category(code[values], [m.name.lower() for m in members])


def nullable(values: Integers, missing: NDArray[np.bool_], dtype: Literal["Int64", "UInt32"]) -> pd.arrays.IntegerArray:
    """A nullable column that is NA where `missing`."""
    return pd.arrays.IntegerArray(np.array(values, dtype=dtype.lower()), np.array(missing, dtype=np.bool_))


def ratio(part: Integers, whole: Integers) -> pd.arrays.FloatingArray:
    """Float64 part / whole; NA where `whole` is 0."""
    none = np.asarray(whole) == 0
    return pd.arrays.FloatingArray(np.asarray(part) / np.where(none, 1, whole), none)


def in_order(rows: NDArray[np.void], *columns: str) -> NDArray[np.void]:
    """Rows of a structured array, sorted by the first of `columns`, then the next; equal ones keep their order."""
    first = rows[columns[0]]
    if (first[1:] > first[:-1]).all():  # as those of a History mostly are by the time of their end
        return rows
    return rows[np.lexsort([rows[c] for c in reversed(columns)])]

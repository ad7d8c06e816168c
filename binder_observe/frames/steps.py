"""Step functions of pages by state, from spans: compiled, because a recording has millions of spans.

Spans of a page leave no hole, so each of them but the last is one change: there its page goes on in the next one's
state. They are in the order in which they ended, so the changes are all but sorted.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from binder_observe.events import Kind
from binder_observe.rows import State

STATES: Final = len(State)
_ABSENT: Final = STATES  # not mapped yet, or not any more
_CODES: Final = STATES + 1  # a change is `state before * _CODES + state after`
_DETACH: Final = int(Kind.DETACH)
_HEIGHTS: Final = 4  # of a drawing: see `_thinned`


def step_function(
    spans: NDArray[np.void], group: NDArray[np.int32], groups: int, pages: NDArray[np.int64], last_ns: int
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
    """(group, ts_ns, counts) of each moment at which the pages of a group by state (shape (rows, 4)) change, and of
    `last_ns`, changed or not; by group, then time.

    `spans` is of dtype SPAN in the order of History; `group` is by alloc number, each below `groups`; `pages` by alloc
    number is how many pages come before the alloc's first, and last how many there are.
    """
    ts, of, code = _changes(spans, group, pages)
    order = np.argsort(ts, kind="stable")
    ts, of, code = ts[order], of[order], code[order]
    if groups > 1:
        # by a type as small as may be: numpy sorts 16 bits by their digits, in linear time
        order = np.argsort(of.astype(np.uint16 if groups <= 1 << 16 else np.uint32), kind="stable")
        ts, of, code = ts[order], of[order], code[order]
    return _counted(ts, of, code, groups, last_ns)  # type: ignore[no-any-return]


@numba.njit(cache=True)
def _changes(spans, group, pages):  # type: ignore[no-untyped-def]  # compiled
    following = np.full(pages[-1], _ABSENT, dtype=np.uint8)  # by page: the state of the span after the one at hand
    first = np.full(pages[-1], -1, dtype=np.int64)  # by page: its first span
    ts = np.empty(len(spans) + len(first), dtype=np.int64)
    of = np.empty(len(ts), dtype=np.int32)
    code = np.empty(len(ts), dtype=np.uint8)
    n = len(spans)
    for i in range(len(spans) - 1, -1, -1):
        span = spans[i]
        page = pages[span.alloc] + span.page
        if span.ended != _DETACH:  # what goes on at the end does not leave
            n -= 1
            ts[n] = span.until_ns
            of[n] = group[span.alloc]
            code[n] = span.state * _CODES + following[page]
        following[page] = span.state
        first[page] = i
    begin, n = n, len(spans)
    for page in range(len(first)):
        if first[page] >= 0:
            span = spans[first[page]]
            ts[n] = span.since_ns
            of[n] = group[span.alloc]
            code[n] = _ABSENT * _CODES + span.state
            n += 1
    return ts[begin:n], of[begin:n], code[begin:n]


@numba.njit(cache=True)
def _counted(ts, of, code, groups, last_ns):  # type: ignore[no-untyped-def]  # compiled
    key = np.empty(len(ts) + groups, dtype=np.int32)
    rows = np.empty(len(key), dtype=np.int64)
    counts = np.empty((len(key), STATES), dtype=np.int32)
    n, i = 0, 0
    for g in range(groups):
        now = np.zeros(_CODES, dtype=np.int32)
        before = np.zeros(_CODES, dtype=np.int32)
        while i < len(ts) and of[i] == g:
            moment = ts[i]
            while i < len(ts) and of[i] == g and ts[i] == moment:
                now[code[i] // _CODES] -= 1
                now[code[i] % _CODES] += 1
                i += 1
            changed = False
            for state in range(STATES):
                changed |= now[state] != before[state]
                before[state] = counts[n, state] = now[state]
            if changed and moment != last_ns:
                key[n], rows[n] = g, moment
                n += 1
        key[n], rows[n] = g, last_ns
        counts[n] = now[:STATES]
        n += 1
    return key[:n], rows[:n], counts[:n]


@numba.njit(cache=True)
def thinned(key, ts, counts, begin_ns, cell_ns):  # type: ignore[no-untyped-def]  # compiled
    """Which rows draw what all of them do, where time is cut into cells of `cell_ns` that are too narrow to see: of
    each group and cell the last one, and those at which one of the heights that are drawn is least and greatest:
    active, active + lru, unknown, and all of these.
    """
    keep = np.zeros(len(ts), dtype=np.bool_)
    least = np.empty(_HEIGHTS, dtype=np.int64)
    greatest = np.empty(_HEIGHTS, dtype=np.int64)
    low = np.zeros(_HEIGHTS, dtype=np.int64)
    high = np.zeros(_HEIGHTS, dtype=np.int64)
    height = np.zeros(_HEIGHTS, dtype=np.int64)
    for i in range(len(ts)):
        held = counts[i, State.ACTIVE] + counts[i, State.LRU]
        height[0], height[1] = counts[i, State.ACTIVE], held
        height[2], height[3] = counts[i, State.UNKNOWN], held + counts[i, State.UNKNOWN]
        cell = (ts[i] - begin_ns) // cell_ns
        if i == 0 or key[i] != key[i - 1] or cell != (ts[i - 1] - begin_ns) // cell_ns:
            least[:], greatest[:], low[:], high[:] = i, i, height, height
        for h in range(_HEIGHTS):
            if height[h] < low[h]:
                least[h], low[h] = i, height[h]
            if height[h] > high[h]:
                greatest[h], high[h] = i, height[h]
        if i + 1 == len(ts) or key[i] != key[i + 1] or cell != (ts[i + 1] - begin_ns) // cell_ns:
            keep[least] = keep[greatest] = True
            keep[i] = True
    return keep

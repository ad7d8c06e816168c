"""What goes on at the end of the observation, written as rows; changes nothing."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from binder_observe.events import Kind
from binder_observe.rows import LIFE, SPAN, Ended, State
from binder_observe.transitions import ALLOC, PAGE


def _array(dtype: Any, ndim: int = 1) -> Any:
    return types.Array(numba.from_dtype(np.dtype(dtype)), ndim, "C")


_TABLES = (_array(np.int64), _array(ALLOC), _array(PAGE), types.int64)


@numba.njit(types.void(*_TABLES, _array(LIFE)), cache=True)
def _lives(rows, allocs, pages, end, lives):  # type: ignore[no-untyped-def]  # compiled
    n = 0
    for r in rows:
        alloc = allocs[r]
        for index in range(alloc.pages):
            page = pages[alloc.base + index]
            if page.state == State.ACTIVE or page.state == State.LRU:
                span = max(end - page.since_ns, 0)
                life = lives[n]
                life.alloc = alloc.number
                life.page = index
                life.began = page.began
                life.ended = Ended.ALIVE
                life.birth_ns = page.birth_ns
                life.end_ns = max(end, page.birth_ns)
                life.active_ns = page.active_ns + (span if page.state == State.ACTIVE else 0)
                life.lru_ns = page.lru_ns + (span if page.state == State.LRU else 0)
                life.reuses = page.reuses
                life.installer = page.installer
                life.ender = 0
                n += 1


@numba.njit(types.int64(*_TABLES, types.boolean, _array(SPAN)), cache=True)
def _spans(rows, allocs, pages, end, untouched, spans):  # type: ignore[no-untyped-def]
    n = 0
    for r in rows:
        alloc = allocs[r]
        for index in range(alloc.pages):
            page = pages[alloc.base + index]
            if (
                untouched
                or page.state == State.ACTIVE
                or page.state == State.LRU
                or page.entered == Kind.UNMAP_KERNEL_START
            ):
                span = spans[n]
                span.alloc = alloc.number
                span.page = index
                span.state = page.state
                span.began = page.entered
                span.ended = Kind.DETACH
                span.since_ns = page.since_ns
                span.until_ns = max(end, page.since_ns)
                span.starter = page.starter
                span.ender = 0
                n += 1
    return n


@numba.njit(types.void(*_TABLES, _array(np.int64, 2)), cache=True)
def _page_time(rows, allocs, pages, end, found):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        alloc = allocs[rows[i]]
        if not alloc.released:
            for page in pages[alloc.base : alloc.base + alloc.pages]:
                if page.state == State.ACTIVE:
                    found[0, i] += max(end - page.since_ns, 0)
                elif page.state == State.LRU:
                    found[1, i] += max(end - page.since_ns, 0)


def open_lives(
    rows: NDArray[np.int64], allocs: NDArray[np.void], pages: NDArray[np.void], end_ns: int
) -> NDArray[np.void]:
    """Lives (dtype LIFE) of the allocs in `rows` of the table, as ALIVE ones."""
    counts = allocs["count"][rows]
    lives = np.zeros(int(counts[:, (State.ACTIVE, State.LRU)].sum()), dtype=LIFE)
    _lives(rows, allocs, pages, end_ns, lives)
    return lives


def open_spans(
    rows: NDArray[np.int64], allocs: NDArray[np.void], pages: NDArray[np.void], end_ns: int, untouched: bool
) -> NDArray[np.void]:
    """Spans (dtype SPAN) that their pages are in, ended by DETACH; see `PageTracker.open_spans`."""
    spans = np.zeros(int(allocs["pages"][rows].sum()), dtype=SPAN)
    return spans[: _spans(rows, allocs, pages, end_ns, untouched, spans)]


def page_time(
    rows: NDArray[np.int64], allocs: NDArray[np.void], pages: NDArray[np.void], end_ns: int
) -> NDArray[np.int64]:
    """For how long pages have been in their states, summed by row; shape (2, rows): active, on the LRU."""
    found = np.zeros((2, len(rows)), dtype=np.int64)
    _page_time(rows, allocs, pages, end_ns, found)
    return found

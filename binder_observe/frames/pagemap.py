"""The page map: page index against time, by state."""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from binder_observe.errors import ObserveError
from binder_observe.history import History
from binder_observe.rows import State

NOT_MAPPED: Final = 255
_STATES: Final = len(State)


def page_map(h: History, alloc: int, columns: int = 600) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """(edges_ns, states) of one alloc over the whole observation.

    `edges_ns`, shape (columns + 1,), cuts the observation into equal cells; `states`, shape (mapping_pages, columns),
    is the `State` that held most of the cell's time, the lower number of equal ones, and NOT_MAPPED where the alloc was
    not there. An observation of fewer ns than columns gets cells of one ns; those past its end are NOT_MAPPED.

    Raises ObserveError when there is no such alloc, or no column.
    """
    state = next((s for s in h.allocs if s.alloc == alloc), None)
    if state is None:
        raise ObserveError(f"there is no alloc {alloc} in this recording; see the alloc column of df_processes()")
    if columns < 1:
        raise ObserveError(f"a page map of {columns} columns: it needs at least one")
    length = max(h.end_ns - h.begin_ns, columns)
    edges = np.array([h.begin_ns + i * length // columns for i in range(columns + 1)], dtype=np.int64)

    time = _time_in_cells(h.spans, alloc, edges, state.mapping_pages)
    states = time.argmax(axis=2).astype(np.uint8)
    states[~time.any(axis=2)] = NOT_MAPPED
    return edges, states


@numba.njit(cache=True)
def _time_in_cells(spans, alloc, edges, pages):  # type: ignore[no-untyped-def]  # compiled
    """By page, cell and state, ns; the spans of a page pass over each cell once."""
    time = np.zeros((pages, len(edges) - 1, _STATES), dtype=np.int64)
    for i in range(len(spans)):
        span = spans[i]
        if span.alloc != alloc:
            continue
        since, until = max(span.since_ns, edges[0]), min(span.until_ns, edges[-1])
        if since >= until:
            continue
        cell = np.searchsorted(edges, since, side="right") - 1
        while since < until:
            end = min(until, edges[cell + 1])
            time[span.page, cell, span.state] += end - since
            since = end
            cell += 1
    return time

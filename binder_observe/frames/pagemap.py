"""The page map: page index against time, by state."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe.errors import ObserveError
from binder_observe.history import History
from binder_observe.rows import State

NOT_MAPPED: Final = 255


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

    spans = h.spans[h.spans["alloc"] == alloc]
    since = np.clip(spans["since_ns"], edges[0], edges[-1])
    until = np.clip(spans["until_ns"], edges[0], edges[-1])
    some = until > since
    spans, since, until = spans[some], since[some], until[some]
    first = np.searchsorted(edges, since, side="right") - 1
    last = np.searchsorted(edges, until, side="left") - 1  # the cells of the first and the last ns of each span

    place = (spans["page"], spans["state"])
    whole = np.zeros((state.mapping_pages, len(State), columns + 1), dtype=np.int64)  # cells that a span covers
    np.add.at(whole, (*place, first + 1), 1)
    np.add.at(whole, (*place, np.maximum(last, first + 1)), -1)
    time = np.cumsum(whole, axis=2)[:, :, :columns] * np.diff(edges)
    np.add.at(time, (*place, first), np.minimum(until, edges[first + 1]) - since)
    over = last > first
    np.add.at(time, (spans["page"][over], spans["state"][over], last[over]), (until - edges[last])[over])

    states = time.argmax(axis=1).astype(np.uint8)
    states[~time.any(axis=1)] = NOT_MAPPED
    return edges, states

"""Rows that the live source puts between the kernel's: descriptions, gaps, marks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from binder_observe.events import DTYPE, NO_ALLOC, EventBatch, Kind, from_records


def first_rows(values: NDArray[np.integer], where: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Each distinct value among the rows of `where`, with its first row."""
    rows = np.flatnonzero(where)
    distinct, at = np.unique(values[rows], return_index=True)
    return [(int(value), int(rows[i])) for value, i in zip(distinct, at, strict=True)]


def row(ts_ns: int, kind: Kind, alloc: int = NO_ALLOC, page: int = 0, tgid: int = 0) -> NDArray[np.void]:
    """One row (dtype DTYPE) of the source's own."""
    return np.array([(ts_ns, kind, alloc, page, 0, tgid, 0)], dtype=DTYPE)


def insert(
    rows: NDArray[np.void], extra: list[tuple[int, NDArray[np.void], str | None]], names: dict[int, str]
) -> EventBatch:
    """`rows` with each extra one put before the row that it names, in the order of `extra` there."""
    if not extra:
        return from_records(rows, names)
    extra.sort(key=lambda item: item[0])
    at = np.array([item[0] for item in extra])
    merged = np.insert(rows, at, np.concatenate([item[1] for item in extra]))
    moved = {row + int(np.searchsorted(at, row, side="right")): name for row, name in names.items()}
    moved.update({int(row) + i: extra[i][2] or "" for i, row in enumerate(at) if extra[i][2] is not None})
    return from_records(merged, moved)

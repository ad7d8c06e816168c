"""Frames as plain tuples, to hold against those of `tests.frames.brute`."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd

from tests.frames.brute import Mapping, Replay


def rows(frame: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """The rows, or those columns of them, with None for NA."""
    chosen = frame[list(columns)] if columns else frame
    objects = chosen.astype(object).where(chosen.notna(), cast(Any, None))
    return [tuple(row) for row in objects.itertuples(index=False)]


def key(expected: Replay, alloc: int) -> tuple[int, str | None, str | None, int]:
    """pid, comm, context, alloc."""
    mapping = expected.mappings[alloc]
    return (mapping.pid, expected.comms.get(mapping.pid), mapping.context, alloc)


def task(expected: Replay, tgid: int | None) -> tuple[int | None, str | None]:
    return (tgid, None if tgid is None else expected.comms.get(tgid))


def until(expected: Replay, mapping: Mapping) -> int:
    return expected.end_ns if mapping.released_ns is None else mapping.released_ns

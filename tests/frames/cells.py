"""Frames as plain values, row by row and column by column."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tests.frames.tables import rows

KEYS = ("pid", "comm", "context", "alloc")


def by(frame: pd.DataFrame, column: str) -> dict[Any, dict[str, Any]]:
    """The rows as dicts, by what they have in `column`, which is different in each."""
    found = {row[frame.columns.get_loc(column)]: dict(zip(frame.columns, row, strict=True)) for row in rows(frame)}
    assert len(found) == len(frame)
    return found


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    """`category` stands for any categories."""
    return {str(column): str(dtype) for column, dtype in frame.dtypes.items()}

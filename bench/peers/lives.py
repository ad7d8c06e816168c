"""The answer that all give: one row a page life."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LIVES: Final = np.dtype(
    [
        ("alloc", "<u4"),
        ("page", "<u4"),
        ("birth_ns", "<i8"),
        ("end_ns", "<i8"),
        ("ended", "u1"),  # rows.Ended
        ("active_ns", "<i8"),
        ("lru_ns", "<i8"),
        ("reuses", "<u4"),
        ("installer", "<u4"),
    ]
)


def table(columns: Mapping[str, Any]) -> NDArray[np.void]:
    """The lives (dtype LIVES) in order of alloc, page and birth, from columns of any kind."""
    rows = np.zeros(len(columns["alloc"]), dtype=LIVES)
    for name in LIVES.names or ():
        rows[name] = columns[name]
    return rows[np.lexsort((rows["birth_ns"], rows["page"], rows["alloc"]))]

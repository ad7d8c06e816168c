"""Rows that come out of the page state machine: lives, spans in one state, attempts to install.

Times are ns of CLOCK_BOOTTIME.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray


class State(IntEnum):
    """The three states of binder_alloc_print_pages(), and pages of which nothing is known yet."""

    FREE = 0
    ACTIVE = 1
    LRU = 2
    UNKNOWN = 3


class Began(IntEnum):
    """How a life came under observation; all but INSTALLED are left-truncated (the true birth is unknown)."""

    INSTALLED = 0
    BEFORE_ATTACH = 1
    AFTER_GAP = 2


class Ended(IntEnum):
    """How a life ended; ALIVE and LOST are censored (it lasted at least that long)."""

    RECLAIMED = 0
    RELEASED = 1
    ALIVE = 2
    LOST = 3


LIFE: Final = np.dtype(
    [
        ("alloc", "<u4"),
        ("page", "<u4"),
        ("began", "u1"),  # Began
        ("ended", "u1"),  # Ended
        ("birth_ns", "<i8"),  # install; for left-truncated lives the first moment it was under observation
        ("end_ns", "<i8"),
        ("active_ns", "<i8"),  # time in use, within the observation
        ("lru_ns", "<i8"),  # time parked on the LRU, within the observation
        ("reuses", "<u4"),
        ("installer", "<u4"),  # tgid that installed it: the sender; 0 when unknown
        ("ender", "<u4"),  # tgid that reclaimed or released it; 0 when it did not end
    ]
)

# One stay of a page in one state. `began` and `ended` are the Kinds of the events that proved it: MMAP for a page of a
# new mapping; ALLOC, a SNAPSHOT_* and LOST mean that it may have begun earlier, LOST and DETACH that it may go on.
SPAN: Final = np.dtype(
    [
        ("alloc", "<u4"),
        ("page", "<u4"),
        ("state", "u1"),  # State
        ("began", "u1"),  # Kind
        ("ended", "u1"),  # Kind
        ("since_ns", "<i8"),
        ("until_ns", "<i8"),
        ("starter", "<u4"),  # tgid that began it; 0 when unknown
        ("ender", "<u4"),  # tgid that ended it; 0 when unknown
    ]
)


class Outcome(IntEnum):
    """What became of an attempt to install a page."""

    INSTALLED = 0
    DUPLICATE = 1  # another task had installed it
    FAILED = 2
    IN_FLIGHT = 3  # still open at the end of the observation


INSTALL: Final = np.dtype(
    [
        ("alloc", "<u4"),
        ("page", "<u4"),
        ("outcome", "u1"),  # Outcome
        ("start_ns", "<i8"),  # -1: its beginning was not seen
        ("end_ns", "<i8"),  # a failed one: when it was known to have failed
        ("tgid", "<u4"),
        ("tid", "<u4"),
    ]
)


def as_bytes(rows: NDArray[np.void]) -> NDArray[np.uint8]:
    """The same memory (1-D, C order), as bytes: these numpy copies at once, structured rows field by field."""
    return rows.view(np.uint8)


def joined(parts: Sequence[NDArray[np.void]]) -> NDArray[Any]:
    """A copy of at least one part, of one dtype, behind each other."""
    return np.concatenate([as_bytes(part) for part in parts]).view(parts[0].dtype)

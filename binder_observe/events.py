"""The one table of events: kinds, their stable numbers, their columns, and the tracepoint each comes from.

Every source yields `EventBatch`es of these columns, every recording stores them, and `probes/record.h` repeats the
numbers for the kernel side (`tests/test_events.py` holds the two together).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION: Final = 1
NO_ALLOC: Final = 0  # an event that belongs to no alloc; real allocs count from 1
GOES_ON: Final = 1  # `page` of a DETACH that only ends a piece of the recording


SHRINKER_CALLBACK: Final = "binder_alloc_free_page"  # takes one page from the LRU, or skips it


class Kind(IntEnum):
    """What happened. The numbers are part of the recording format and never change meaning."""

    # struct binder_lru_page_class, drivers/android/binder_trace.h
    ALLOC_PAGE_START = 1
    ALLOC_PAGE_END = 2
    ALLOC_LRU_START = 3
    ALLOC_LRU_END = 4
    FREE_LRU_START = 5
    FREE_LRU_END = 6
    UNMAP_KERNEL_START = 7
    UNMAP_KERNEL_END = 8
    UNMAP_USER_START = 9
    UNMAP_USER_END = 10
    # entry and return of binder_alloc_deferred_release()
    RELEASE_START = 11
    RELEASE_END = 12
    # state of one page, or of a whole alloc, read from the kernel
    SNAPSHOT_FREE = 16
    SNAPSHOT_ACTIVE = 17
    SNAPSHOT_LRU = 18
    SNAPSHOT_HIGH = 19
    # LRU_SKIP, returned by SHRINKER_CALLBACK: by what was in its way
    LRU_SKIP_ALLOC_LOCK = 20
    LRU_SKIP_MMAP_LOCK = 21
    LRU_SKIP_MM_GONE = 22
    LRU_SKIP_OTHER = 23
    # descriptions
    ALLOC = 24
    MMAP = 25
    PROCESS = 26
    # the observation itself
    LOST = 30
    ATTACH = 31
    DETACH = 32
    AUDIT = 33


LRU_SKIPS: Final = (Kind.LRU_SKIP_ALLOC_LOCK, Kind.LRU_SKIP_MMAP_LOCK, Kind.LRU_SKIP_MM_GONE, Kind.LRU_SKIP_OTHER)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    `tracepoint` is the name in trace system `binder` (None: not a tracepoint); `default` says whether it is probed
    without `--latency`; `essential` says that nothing can be told without it; `page` is what the column means.
    """

    kind: Kind
    tracepoint: str | None
    default: bool
    essential: bool
    page: str
    meaning: str


def _tracepoint(kind: Kind, meaning: str, *, default: bool = False, essential: bool = False) -> Row:
    return Row(kind, f"binder_{kind.name.lower()}", default, essential, "page index", meaning)


TABLE: Final[tuple[Row, ...]] = (
    _tracepoint(Kind.ALLOC_PAGE_START, "an attempt to install a page", default=True, essential=True),
    _tracepoint(Kind.ALLOC_PAGE_END, "the page is installed", default=True, essential=True),
    _tracepoint(Kind.ALLOC_LRU_START, "reuse: the page leaves the LRU", default=True, essential=True),
    _tracepoint(Kind.ALLOC_LRU_END, "reuse is done"),
    _tracepoint(Kind.FREE_LRU_START, "park: the page goes onto the LRU", default=True, essential=True),
    _tracepoint(Kind.FREE_LRU_END, "park is done"),
    _tracepoint(Kind.UNMAP_KERNEL_START, "reclaim: the shrinker takes the page", default=True, essential=True),
    _tracepoint(Kind.UNMAP_KERNEL_END, "reclaim is done"),
    _tracepoint(Kind.UNMAP_USER_START, "reclaim begins to unmap the page from user space"),
    _tracepoint(Kind.UNMAP_USER_END, "the page is unmapped from user space"),
    Row(Kind.RELEASE_START, None, True, True, "0", "binder_alloc_deferred_release() begins: teardown"),
    Row(Kind.RELEASE_END, None, True, True, "0", "every page of the alloc is free and the alloc is gone"),
    Row(Kind.SNAPSHOT_FREE, None, True, False, "page index", "the kernel has no page here"),
    Row(Kind.SNAPSHOT_ACTIVE, None, True, False, "page index", "the page is installed and in use"),
    Row(Kind.SNAPSHOT_LRU, None, True, False, "page index", "the page is parked on the LRU"),
    Row(Kind.SNAPSHOT_HIGH, None, True, False, "pages", "the alloc's pages_high as the kernel has it"),
    Row(Kind.LRU_SKIP_ALLOC_LOCK, None, False, False, "page index", "LRU_SKIP: the alloc's lock is held"),
    Row(Kind.LRU_SKIP_MMAP_LOCK, None, False, False, "page index", "LRU_SKIP: the mmap lock is held for writing"),
    Row(Kind.LRU_SKIP_MM_GONE, None, False, False, "page index", "LRU_SKIP: nobody uses the owner's mm any more"),
    Row(Kind.LRU_SKIP_OTHER, None, False, False, "page index", "LRU_SKIP, and why cannot be told"),
    Row(Kind.ALLOC, None, True, False, "mapping size, pages",
        "an alloc that was mapped before it was seen: its pages are unknown; tgid = owner, name = context"),
    Row(Kind.MMAP, None, True, False, "mapping size, pages",
        "an alloc mapped under observation: its pages are free; tgid = owner, name = context"),
    Row(Kind.PROCESS, None, True, False, "0", "the name of process tgid; alloc: told as the owner of that one"),
    Row(Kind.LOST, None, True, False, "events lost",
        "a gap before this point: that many events of the alloc (0: of any) did not reach the observer"),
    Row(Kind.ATTACH, None, True, False, "0", "every probe is attached: the observation begins"),
    Row(Kind.DETACH, None, True, False, "GOES_ON or 0", "the observation ends, or goes on in the next piece"),
    Row(Kind.AUDIT, None, True, False, "0", "a comparison with the kernel's page counts; name = its result as JSON"),
)  # fmt: skip

BY_KIND: Final[Mapping[Kind, Row]] = {row.kind: row for row in TABLE}

COLUMNS: Final[Mapping[str, str]] = {
    "ts_ns": "<i8",  # CLOCK_BOOTTIME, ns
    "kind": "u1",  # Kind
    "alloc": "<u4",  # small number of one binder_alloc, from 1
    "page": "<u4",  # see Row.page
    "cpu": "<u2",
    "tgid": "<u4",  # the current task: who caused it (the owner, in descriptions)
    "tid": "<u4",
}
DTYPE: Final = np.dtype(list(COLUMNS.items()))


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Columns of equal length, in causal order; `names` holds the text of description rows by row number."""

    ts_ns: NDArray[np.int64]
    kind: NDArray[np.uint8]
    alloc: NDArray[np.uint32]
    page: NDArray[np.uint32]
    cpu: NDArray[np.uint16]
    tgid: NDArray[np.uint32]
    tid: NDArray[np.uint32]
    names: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ts_ns)

    @property
    def kernel_events(self) -> int:
        """How many rows are the kernel's own events (no snapshot, description or mark)."""
        # an IntEnum is no int to numpy, and would make a wide copy of the column
        skips = (self.kind >= int(LRU_SKIPS[0])) & (self.kind <= int(LRU_SKIPS[-1]))
        return int(np.count_nonzero((self.kind <= int(Kind.RELEASE_END)) | skips))

    @property
    def lost_events(self) -> int:
        return int(self.page[self.kind == int(Kind.LOST)].sum(dtype=np.int64))

    def slice(self, start: int, stop: int) -> EventBatch:
        """Rows `start` to `stop` as views, with their names."""
        names = {row - start: name for row, name in self.names.items() if start <= row < stop}
        return EventBatch(**{c: getattr(self, c)[start:stop] for c in COLUMNS}, names=names)

    def rows(self) -> Iterator[tuple[int, Kind, int, int, int, int, int, str | None]]:
        """Row by row, for people and tests; nothing on the event path calls this."""
        for i in range(len(self)):
            yield (
                int(self.ts_ns[i]), Kind(int(self.kind[i])), int(self.alloc[i]), int(self.page[i]),
                int(self.cpu[i]), int(self.tgid[i]), int(self.tid[i]), self.names.get(i),
            )  # fmt: skip


def from_records(records: NDArray[np.void], names: Mapping[int, str] | None = None) -> EventBatch:
    """A batch from a structured array that has at least the fields of `COLUMNS`; each column is copied."""
    return EventBatch(**{c: np.ascontiguousarray(records[c], dtype=t) for c, t in COLUMNS.items()}, names=names or {})


def from_rows(rows: Iterable[tuple[int, int, int, int, int, int, int, str | None]]) -> EventBatch:
    """A batch from tuples in the order of `COLUMNS` with the name last."""
    listed = list(rows)
    records = np.array([row[:-1] for row in listed], dtype=DTYPE)
    return from_records(records, {i: row[-1] for i, row in enumerate(listed) if row[-1] is not None})


def concat(batches: Iterable[EventBatch]) -> EventBatch:
    """One batch from several, in order."""
    parts = list(batches)
    if len(parts) == 1:
        return parts[0]
    names: dict[int, str] = {}
    base = 0
    for part in parts:
        names.update({base + row: name for row, name in part.names.items()})
        base += len(part)
    if not parts:
        return from_rows([])
    return EventBatch(**{c: np.concatenate([getattr(p, c) for p in parts]) for c in COLUMNS}, names=names)

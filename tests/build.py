"""Short event lists, for tests."""

from __future__ import annotations

from binder_observe.events import EventBatch, Kind, from_rows
from binder_observe.sources import Meta
from binder_observe.tracker import AllocState, Finished, PageTracker

Row = tuple[int, int, int, int, int, int, int, str | None]

META = Meta(source="simulated", kernel="test", generation="6.14", page_size=4096, tool_version="0")
OWNER, SENDER, SHRINKER, WORKER = 100, 200, 300, 400


def row(ts: int, kind: int, page: int = 0, *, alloc: int = 1, task: int = SENDER, name: str | None = None) -> Row:
    return (ts, kind, alloc, page, 0, task, task, name)


def attach(ts: int = 0) -> Row:
    return row(ts, Kind.ATTACH, alloc=0)


def mapped(pages: int = 4, *, ts: int = 0, alloc: int = 1, owner: int = OWNER) -> Row:
    """An alloc mapped under observation."""
    return row(ts, Kind.MMAP, pages, alloc=alloc, task=owner, name="binder")


def found(pages: int = 4, *, ts: int = 0, alloc: int = 1) -> Row:
    """An alloc from before attach."""
    return row(ts, Kind.ALLOC, pages, alloc=alloc, task=OWNER, name="binder")


def install(ts: int, page: int = 0, *, alloc: int = 1, task: int = SENDER) -> list[Row]:
    return [
        row(ts, Kind.ALLOC_PAGE_START, page, alloc=alloc, task=task),
        row(ts + 1, Kind.ALLOC_PAGE_END, page, alloc=alloc, task=task),
    ]


def park(ts: int, page: int = 0, *, alloc: int = 1, task: int = OWNER) -> Row:
    return row(ts, Kind.FREE_LRU_START, page, alloc=alloc, task=task)


def reuse(ts: int, page: int = 0, *, alloc: int = 1, task: int = SENDER) -> Row:
    return row(ts, Kind.ALLOC_LRU_START, page, alloc=alloc, task=task)


def reclaim(ts: int, page: int = 0, *, alloc: int = 1) -> Row:
    return row(ts, Kind.UNMAP_KERNEL_START, page, alloc=alloc, task=SHRINKER)


def release(ts: int, *, alloc: int = 1, parks: tuple[int, ...] = ()) -> list[Row]:
    return [
        row(ts, Kind.RELEASE_START, alloc=alloc, task=WORKER),
        *(park(ts + 1, page, alloc=alloc, task=WORKER) for page in parks),
        row(ts + 2, Kind.RELEASE_END, alloc=alloc, task=WORKER),
    ]


def all_states(tracker: PageTracker, *done: Finished) -> list[AllocState]:
    """Of live mappings, and of those that were released in what is done; by number."""
    return sorted([*tracker.allocs(), *(s for d in done for s in d.allocs)], key=lambda s: s.alloc)


def batch(*rows: Row | list[Row]) -> EventBatch:
    flat: list[Row] = []
    for item in rows:
        flat += item if isinstance(item, list) else [item]
    return from_rows(flat)

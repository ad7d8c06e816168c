"""The freelist: `struct list_lru` with its one list in LRU order (mm/list_lru.c).

The model has one NUMA node, and binder's list is not memcg aware, so there is one `struct list_lru_one`. Nothing in
the model yields while the kernel holds the list's spinlock, so the lock itself is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from binder_observe.simulator.scheduler import Steps


class LruStatus(Enum):
    """`enum lru_status`, as far as binder returns it."""

    LRU_REMOVED_RETRY = 0
    LRU_SKIP = 1


class ListHead:
    """`struct list_head`, embedded by inheritance; an empty one has `next` None."""

    __slots__ = ("next", "prev")

    next: ListHead | None
    prev: ListHead | None

    def __init__(self) -> None:
        self.next = None
        self.prev = None


def list_empty(item: ListHead) -> bool:
    return item.next is None


class ListLru:
    """Items in LRU order: `head.next` is the oldest."""

    __slots__ = ("head", "nr_items")

    def __init__(self) -> None:
        self.head = ListHead()
        self.head.next = self.head.prev = self.head
        self.nr_items = 0


def list_lru_add(lru: ListLru, item: ListHead) -> bool:
    """Puts `item` at the young end; False: it was on the list already."""
    if item.next is not None:
        return False
    head = lru.head
    last = head.prev
    assert last is not None
    item.prev = last
    item.next = head
    last.next = item
    head.prev = item
    lru.nr_items += 1
    return True


def list_lru_del(lru: ListLru, item: ListHead) -> bool:
    """Takes `item` off; False: it was not on the list."""
    following = item.next
    if following is None:
        return False
    before = item.prev
    assert before is not None
    before.next = following
    following.prev = before
    item.next = item.prev = None
    lru.nr_items -= 1
    return True


list_lru_isolate = list_lru_del  # the walk's own name for it


def list_lru_count(lru: ListLru) -> int:
    return lru.nr_items


def list_lru_walk(lru: ListLru, isolate: Callable[[ListHead], Steps[LruStatus]], nr_to_walk: int) -> Steps[int]:
    """Offers up to `nr_to_walk` items to `isolate`, oldest first; how many it took.

    After each one taken the walk begins again at the oldest, because the lock was dropped: items that are skipped
    there are offered, and counted, anew.
    """
    isolated = 0
    item = lru.head.next
    while nr_to_walk and item is not None and item is not lru.head:
        nr_to_walk -= 1
        following = item.next
        if (yield from isolate(item)) is LruStatus.LRU_SKIP:
            item = following
        else:
            isolated += 1
            item = lru.head.next
    return isolated

"""Reads one batch ahead, on a second processor where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made while the one before is used: Arrow and zlib do their work without Python's lock.

    What `items` raises comes when its turn comes.
    """
    with ThreadPoolExecutor(1) as pool:
        end = object()
        following = pool.submit(next, items, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, items, end)
            yield item  # type: ignore[misc]  # not the end

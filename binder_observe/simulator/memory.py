"""Physical memory: pages with their owners' metadata, and who runs short.

Without a limit `alloc_page()` always has a page. With one, the watermarks of mm/page_alloc.c decide: below `low`
kswapd is woken, below `min` the allocating task reclaims for itself, and when that finds nothing it gets no page
(a real order-0 GFP_KERNEL allocation would rather have somebody killed; the model has nobody to kill).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from binder_observe.simulator.list_lru import ListHead

if TYPE_CHECKING:
    from binder_observe.simulator.alloc import BinderAlloc

DEF_PRIORITY: Final = 12  # include/linux/mmzone.h: reclaim begins by scanning 1/4096 of each list
SWAP_CLUSTER_MAX: Final = 32  # include/linux/swap.h: what one direct reclaim aims at, pages


class BinderShrinkerMdata(ListHead):
    """`struct binder_shrinker_mdata` {lru, alloc, page_index}; the list head is inherited.

    Before 6.14 the same facts are in `struct binder_lru_page`, one for each page of the mapping from mmap time on.
    """

    __slots__ = ("alloc", "page_index")

    def __init__(self, alloc: BinderAlloc, page_index: int) -> None:
        super().__init__()
        self.alloc = alloc
        self.page_index = page_index


class Page:
    """`struct page`; `private` leads to its metadata (before 6.14: to its slot of the alloc's array)."""

    __slots__ = ("private",)

    private: BinderShrinkerMdata

    # No __init__: a page has no metadata until binder_page_alloc() has hung it there.


@dataclass(slots=True)
class Watermarks:
    """Free pages below which something happens (`struct zone`._watermark)."""

    min: int
    low: int
    high: int


class Memory:
    """Pages and metadata handed out and taken back, for the whole machine.

    `in_flight` holds each page between its allocation and its installation (or return), and between its reclaim and
    its return: at any moment `pages_allocated - pages_freed` is the pages installed plus the pages in flight.
    """

    __slots__ = (
        "cache_pages",
        "free_pages",
        "in_flight",
        "limited",
        "mdata_allocated",
        "mdata_freed",
        "pages_allocated",
        "pages_freed",
        "wake_kswapd",
        "watermarks",
    )

    def __init__(self) -> None:
        self.pages_allocated = 0
        self.pages_freed = 0
        self.mdata_allocated = 0
        self.mdata_freed = 0
        self.in_flight: set[Page] = set()
        self.limited = False
        self.free_pages = 0
        self.cache_pages = 0  # clean page cache, which reclaim can take beside binder's pages
        self.watermarks = Watermarks(0, 0, 0)
        self.wake_kswapd: Callable[[], None] | None = None

    def limit(self, free_pages: int, cache_pages: int = 0) -> None:
        """From now on there are `free_pages` free pages, and `cache_pages` of page cache to take before them.

        The watermarks keep the proportions of __setup_per_zone_wmarks(), mm/page_alloc.c: low and high are a quarter
        and a half of `min` above it; `min` is a choice, 1/32 of what there is.
        """
        minimum = max(4, (free_pages + cache_pages) // 32)
        self.limited = True
        self.free_pages = free_pages
        self.cache_pages = cache_pages
        self.watermarks = Watermarks(minimum, minimum + minimum // 4, minimum + minimum // 2)

    def alloc_page(self) -> Page | None:
        """`alloc_page(GFP_KERNEL | __GFP_HIGHMEM | __GFP_ZERO)`, when reclaim has been tried where it must be."""
        if self.limited:
            if self.free_pages <= 0:
                return None
            self.free_pages -= 1
            if self.free_pages < self.watermarks.low and self.wake_kswapd is not None:
                self.wake_kswapd()
        self.pages_allocated += 1
        page = Page()
        self.in_flight.add(page)
        return page

    def free_page(self, page: Page) -> None:
        """`__free_page()`."""
        self.in_flight.discard(page)
        self.pages_freed += 1
        self.free_pages += 1

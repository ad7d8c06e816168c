"""Pages of an alloc: allocated with their metadata, parked on the freelist and taken back from it, freed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from binder_observe.events import Kind
from binder_observe.simulator.costs import ALLOC_PAGE_NS
from binder_observe.simulator.distributions import QUANTILES
from binder_observe.simulator.list_lru import list_lru_add, list_lru_del
from binder_observe.simulator.memory import BinderShrinkerMdata, Memory, Page
from binder_observe.simulator.scheduler import Steps
from binder_observe.simulator.trace import PAGE_SHIFT
from binder_observe.simulator.vmscan import try_to_free_pages

if TYPE_CHECKING:
    from binder_observe.simulator.alloc import BinderAlloc

ALLOC_LRU_START: Final = int(Kind.ALLOC_LRU_START)
FREE_LRU_START: Final = int(Kind.FREE_LRU_START)


def page_to_lru(page: Page) -> BinderShrinkerMdata:
    """The page's entry of the freelist (before 6.14: its slot of the array that `private` stands for)."""
    return page.private


def binder_alloc_is_mapped(alloc: BinderAlloc) -> bool:
    return alloc.mapped


def binder_get_installed_page(alloc: BinderAlloc, index: int) -> Page | None:
    return alloc.pages[index]


def binder_set_installed_page(alloc: BinderAlloc, index: int, page: Page | None) -> None:
    """`alloc->pages[index] = page`; the loser of a race sets the winner's page once more."""
    before = alloc.pages[index]
    alloc.pages[index] = page
    if page is not None and before is None:
        kernel = alloc.kernel
        kernel.memory.in_flight.discard(page)
        if kernel.truth is not None:
            kernel.truth.installed(alloc, index)


def binder_page_alloc(alloc: BinderAlloc, index: int) -> Steps[Page | None]:
    """A zeroed page with its metadata; when that cannot be had, the page is given back and there is none."""
    kernel = alloc.kernel
    memory = kernel.memory
    if memory.limited and memory.free_pages <= memory.watermarks.min:
        yield from try_to_free_pages(kernel)  # direct reclaim, with whatever locks the caller holds
    page = None if kernel.faults is not None and kernel.faults.strikes("no_page") else memory.alloc_page()
    if page is None:
        return None
    if kernel.scheduler.passes(ALLOC_PAGE_NS[int(kernel.random.random() * QUANTILES)]):
        yield
    if not kernel.diff.mdata_per_page:
        page.private = alloc.lru_pages[index]
        return page
    if kernel.faults is not None and kernel.faults.strikes("no_metadata"):
        memory.free_page(page)
        return None
    memory.mdata_allocated += 1
    page.private = BinderShrinkerMdata(alloc, index)
    return page


def binder_free_page(memory: Memory, page: Page, mdata_per_page: bool) -> None:
    """The page goes, and its metadata with it where each page has its own."""
    if mdata_per_page:
        memory.mdata_freed += 1
    memory.free_page(page)


def binder_lru_freelist_add(alloc: BinderAlloc, start: int, end: int) -> None:
    """Parks the installed pages of [start, end), which is page aligned.

    Up to 6.7 this is the free half of binder_update_page_range(), from the last page to the first.
    """
    kernel = alloc.kernel
    shift = kernel.page_shift
    indexes = range(start >> shift, end >> shift)
    if kernel.diff.parks_highest_first:
        indexes = indexes[::-1]
    pages = alloc.pages
    emit_pair = kernel.emit_pair
    freelist = alloc.freelist
    truth = kernel.truth
    for index in indexes:
        page = pages[index]
        if page is None:  # its install failed
            continue
        if truth is not None:
            truth.parked(alloc, index)
        emit_pair(alloc.key | index << PAGE_SHIFT | FREE_LRU_START)
        added = list_lru_add(freelist, page.private)
        assert added, "parked twice"


def take_off_lru(alloc: BinderAlloc, index: int, page: Page) -> None:
    """The reuse of one installed page."""
    kernel = alloc.kernel
    if kernel.truth is not None:
        kernel.truth.reused(alloc, index)
    kernel.emit_pair(alloc.key | index << PAGE_SHIFT | ALLOC_LRU_START)
    on_lru = list_lru_del(alloc.freelist, page.private)
    assert on_lru, "reused while active"


def binder_lru_freelist_del(alloc: BinderAlloc, start: int, end: int) -> None:
    """6.8: takes the installed pages of [start, end) off the LRU; missing ones raise the high watermark."""
    pages = alloc.pages
    shift = alloc.kernel.page_shift
    for index in range(start >> shift, end >> shift):
        page = pages[index]
        if page is not None:
            take_off_lru(alloc, index, page)
        elif index >= alloc.pages_high:
            alloc.pages_high = index + 1

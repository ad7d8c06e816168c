"""Installing pages: the race for one page, and the ranges that a buffer needs."""

from __future__ import annotations

from errno import EBUSY, ENOMEM, ESRCH
from typing import TYPE_CHECKING, Final

from binder_observe.events import Kind
from binder_observe.simulator.costs import INSERT_NS, LOOK_NS
from binder_observe.simulator.memory import BinderShrinkerMdata, Page
from binder_observe.simulator.mm import mmget_not_zero, mmput_async, vma_lookup
from binder_observe.simulator.pages import (
    binder_alloc_is_mapped,
    binder_free_page,
    binder_get_installed_page,
    binder_lru_freelist_add,
    binder_page_alloc,
    binder_set_installed_page,
    take_off_lru,
)
from binder_observe.simulator.scheduler import Steps
from binder_observe.simulator.trace import PAGE_SHIFT, Task

if TYPE_CHECKING:
    from binder_observe.simulator.alloc import BinderAlloc

ALLOC_PAGE_START: Final = int(Kind.ALLOC_PAGE_START)
ALLOC_PAGE_END: Final = int(Kind.ALLOC_PAGE_END)
PHANTOM_TID: Final = 1_000_000  # the installer of fault `ebusy` is the loser's thread number and this


def vm_insert_page(alloc: BinderAlloc, index: int, page: Page) -> int:
    """Sets the page table entry: 0, -EBUSY when there is one already, -ENOMEM."""
    vma = alloc.vma
    assert vma is not None
    kernel = alloc.kernel
    if kernel.faults is not None and kernel.faults.strikes("insert_error"):
        return -ENOMEM
    if index in vma.ptes:
        return -EBUSY
    vma.ptes[index] = page
    return 0


def binder_page_lookup(alloc: BinderAlloc, index: int) -> Steps[Page | None]:
    """get_user_pages_remote() without faulting in: who won the race for the page table entry."""
    mmap_lock = alloc.mm.mmap_lock
    yield from mmap_lock.read_lock()
    page = None
    if binder_alloc_is_mapped(alloc) and alloc.vma is not None:
        page = alloc.vma.ptes.get(index)
    mmap_lock.read_unlock()
    return page


def binder_page_insert(alloc: BinderAlloc, index: int, page: Page) -> Steps[int]:
    """6.14: under the per-VMA lock where it can be had, else under the mmap lock."""
    if alloc.kernel.strikes("no_vma"):
        return -ESRCH
    vma = vma_lookup(alloc)
    if vma is not None and vma.lock.read_trylock():
        ret = vm_insert_page(alloc, index, page) if binder_alloc_is_mapped(alloc) else -ESRCH
        vma.lock.read_unlock()
        return ret
    mmap_lock = alloc.mm.mmap_lock
    yield from mmap_lock.read_lock()
    vma = vma_lookup(alloc)
    ret = vm_insert_page(alloc, index, page) if vma is not None and binder_alloc_is_mapped(alloc) else -ESRCH
    mmap_lock.read_unlock()
    return ret


def _phantom_winner(alloc: BinderAlloc, index: int) -> bool:
    """Fault `ebusy`: an installer that no thread of the model plays is done with the page just before us."""
    kernel = alloc.kernel
    memory = kernel.memory
    vma = alloc.vma
    if vma is None or not binder_alloc_is_mapped(alloc) or index in vma.ptes or alloc.pages[index] is not None:
        return False
    page = memory.alloc_page()
    if page is None:
        return False
    loser = kernel.trace.current
    kernel.trace.current = Task(loser.tgid, loser.tid + PHANTOM_TID, loser.comm, loser.cpu + 1)
    key = alloc.key | index << PAGE_SHIFT
    kernel.emit(key | ALLOC_PAGE_START)
    if kernel.diff.mdata_per_page:
        memory.mdata_allocated += 1
        page.private = BinderShrinkerMdata(alloc, index)
    else:
        page.private = alloc.lru_pages[index]
    vma.ptes[index] = page
    binder_set_installed_page(alloc, index, page)
    if kernel.truth is not None:
        kernel.truth.announced(alloc, index)
    kernel.emit(key | ALLOC_PAGE_END)
    kernel.trace.current = loser
    return True


def binder_install_single_page(alloc: BinderAlloc, index: int) -> Steps[int]:
    """0 when the page is there in the end, whoever installed it; -ESRCH, -ENOMEM."""
    mm = alloc.mm
    if not mmget_not_zero(mm):
        return -ESRCH
    if alloc.kernel.diff.mmap_write_lock:
        ret = yield from _install_under_mmap_write_lock(alloc, index)
    else:
        ret = yield from _install_or_meet_ebusy(alloc, index)
    mmput_async(mm)
    return ret


def _install_under_mmap_write_lock(alloc: BinderAlloc, index: int) -> Steps[int]:
    """6.8 to 6.13."""
    kernel = alloc.kernel
    mmap_lock = alloc.mm.mmap_lock
    yield from mmap_lock.write_lock()
    if kernel.faults is not None and kernel.faults.strikes("ebusy"):
        _phantom_winner(alloc, index)
    if binder_get_installed_page(alloc, index) is not None:
        ret = 0  # lost the race, and the winner is done
    elif not binder_alloc_is_mapped(alloc) or kernel.strikes("no_vma"):
        ret = -ESRCH
    else:
        ret = yield from _alloc_and_insert(alloc, index)
    mmap_lock.write_unlock()
    return ret


def _alloc_and_insert(alloc: BinderAlloc, index: int) -> Steps[int]:
    """With the mmap write lock held: nobody can be there first."""
    kernel = alloc.kernel
    page = yield from binder_page_alloc(alloc, index)
    if page is None:
        return -ENOMEM
    if vm_insert_page(alloc, index, page):
        binder_free_page(kernel.memory, page, kernel.diff.mdata_per_page)
        return -ENOMEM
    binder_set_installed_page(alloc, index, page)
    return 0


def _install_or_meet_ebusy(alloc: BinderAlloc, index: int) -> Steps[int]:
    """Since 6.14: nothing is locked while the page is made."""
    kernel = alloc.kernel
    page = yield from binder_page_alloc(alloc, index)
    if page is None:
        return -ENOMEM
    no_winner = kernel.strikes("ebusy_no_winner")
    if no_winner or (kernel.strikes("ebusy") and _phantom_winner(alloc, index)):
        ret = -EBUSY
    else:
        ret = yield from binder_page_insert(alloc, index, page)
    if ret == -EBUSY:
        binder_free_page(kernel.memory, page, kernel.diff.mdata_per_page)
        winner = None if no_winner else (yield from binder_page_lookup(alloc, index))
        if winner is None:
            return -ESRCH
        binder_set_installed_page(alloc, index, winner)
        return 0
    if ret:
        binder_free_page(kernel.memory, page, kernel.diff.mdata_per_page)
        return ret
    # Between the page table entry and alloc->pages[] is where the loser of a race meets EBUSY.
    if kernel.scheduler.passes(INSERT_NS):
        yield
    binder_set_installed_page(alloc, index, page)
    return 0


def binder_install_buffer_pages(alloc: BinderAlloc, first: int, last: int) -> Steps[int]:
    """6.8: installs what is missing of the pages `first` to `last`: all that the buffer touches, shared or not."""
    kernel = alloc.kernel
    pages = alloc.pages
    for index in range(first, last + 1):
        if pages[index] is not None:
            continue
        if kernel.scheduler.passes(LOOK_NS):
            yield
        key = alloc.key | index << PAGE_SHIFT
        kernel.emit(key | ALLOC_PAGE_START)
        ret = yield from binder_install_single_page(alloc, index)
        if ret:
            return ret
        if kernel.truth is not None:
            kernel.truth.announced(alloc, index)
        kernel.emit(key | ALLOC_PAGE_END)
    return 0


def binder_update_page_range(alloc: BinderAlloc, start: int, end: int) -> Steps[int]:
    """Up to 6.7, allocating: one pass over [start, end), in which installed pages leave the LRU and missing ones are
    installed. When one cannot be, the pages before it are parked, from the last to the first, reused ones too.
    """
    kernel = alloc.kernel
    pages = alloc.pages
    mm = alloc.mm
    shift = kernel.page_shift
    indexes = range(start >> shift, end >> shift)
    need_mm = any(pages[index] is None for index in indexes)
    have_mm = False
    if need_mm:
        have_mm = mmget_not_zero(mm)
        if have_mm:
            yield from mm.mmap_lock.write_lock()
        if not have_mm or not binder_alloc_is_mapped(alloc) or kernel.strikes("no_vma"):
            if have_mm:
                mm.mmap_lock.write_unlock()
                mmput_async(mm)
            return -ESRCH
    ret = 0
    for index in indexes:
        page = pages[index]
        if page is not None:
            take_off_lru(alloc, index, page)
            continue
        key = alloc.key | index << PAGE_SHIFT
        kernel.emit(key | ALLOC_PAGE_START)
        ret = yield from _alloc_and_insert(alloc, index)
        if ret:
            binder_lru_freelist_add(alloc, start, index << shift)
            break
        if index >= alloc.pages_high:
            alloc.pages_high = index + 1
        if kernel.truth is not None:
            kernel.truth.announced(alloc, index)
        kernel.emit(key | ALLOC_PAGE_END)
    if have_mm:
        mm.mmap_lock.write_unlock()
        mmput_async(mm)
    return ret

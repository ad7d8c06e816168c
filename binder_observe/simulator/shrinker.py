"""Binder's shrinker: what it does to one parked page, and its two entry points. Who calls it is in vmscan.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from binder_observe.events import Kind
from binder_observe.simulator.costs import ZAP_NS
from binder_observe.simulator.list_lru import (
    ListHead,
    LruStatus,
    list_lru_count,
    list_lru_isolate,
    list_lru_walk,
)
from binder_observe.simulator.memory import BinderShrinkerMdata
from binder_observe.simulator.mm import mmget_not_zero, mmput_async, vma_lookup
from binder_observe.simulator.pages import binder_free_page
from binder_observe.simulator.scheduler import RwLock, Steps
from binder_observe.simulator.trace import PAGE_SHIFT

if TYPE_CHECKING:
    from binder_observe.simulator.kernel import Kernel

UNMAP_KERNEL_START: Final = int(Kind.UNMAP_KERNEL_START)
UNMAP_USER_START: Final = int(Kind.UNMAP_USER_START)
UNMAP_USER_END: Final = int(Kind.UNMAP_USER_END)
SKIP_ALLOC_LOCK: Final = int(Kind.LRU_SKIP_ALLOC_LOCK)
SKIP_MMAP_LOCK: Final = int(Kind.LRU_SKIP_MMAP_LOCK)
SKIP_MM_GONE: Final = int(Kind.LRU_SKIP_MM_GONE)
SKIP_OTHER: Final = int(Kind.LRU_SKIP_OTHER)


def _lock_mm(mdata: BinderShrinkerMdata) -> RwLock | None:
    """The lock under which the page can be unmapped, held for reading; None: the trylock failed."""
    alloc = mdata.alloc
    kernel = alloc.kernel
    if kernel.strikes("mmap_trylock"):
        return None
    if kernel.diff.vma_lock:
        vma = vma_lookup(alloc)
        if vma is not None and vma.lock.read_trylock():
            return vma.lock
    mmap_lock = alloc.mm.mmap_lock
    return mmap_lock if mmap_lock.read_trylock() else None


def binder_alloc_free_page(item: ListHead) -> Steps[LruStatus]:
    """Takes one parked page back. LRU_SKIP, of which a probe on the return tells, when the mm is gone, a trylock fails
    or the alloc's mapping is not what lies there (which no look at the locks shows, so it is LRU_SKIP_OTHER); nobody
    may wait here, because whoever holds those locks may be waiting for memory.
    """
    mdata = item
    assert isinstance(mdata, BinderShrinkerMdata)  # container_of()
    alloc = mdata.alloc
    kernel = alloc.kernel
    diff = kernel.diff
    mm = alloc.mm
    index = mdata.page_index
    key = alloc.key | index << PAGE_SHIFT
    emit = kernel.emit
    if diff.shrinker_locks_alloc_first and (kernel.strikes("alloc_trylock") or not alloc.lock.trylock()):
        emit(key | SKIP_ALLOC_LOCK)
        return LruStatus.LRU_SKIP
    mm_lock = None
    obstacle = SKIP_MM_GONE
    if not kernel.strikes("mm_gone") and mmget_not_zero(mm):
        mm_lock = _lock_mm(mdata)
        if mm_lock is None:
            obstacle = SKIP_MMAP_LOCK
            mmput_async(mm)
    if mm_lock is None:
        if diff.shrinker_locks_alloc_first:
            alloc.lock.unlock()
        emit(key | obstacle)
        return LruStatus.LRU_SKIP
    if not diff.shrinker_locks_alloc_first and (kernel.strikes("alloc_trylock") or not alloc.lock.trylock()):
        mm_lock.read_unlock()
        mmput_async(mm)
        emit(key | SKIP_ALLOC_LOCK)
        return LruStatus.LRU_SKIP
    vma = vma_lookup(alloc)
    if (vma is not None and not alloc.mapped) or kernel.strikes("invalid_vma"):
        alloc.lock.unlock()
        mm_lock.read_unlock()
        mmput_async(mm)
        emit(key | SKIP_OTHER)
        return LruStatus.LRU_SKIP

    page = alloc.pages[index]
    assert page is not None, "a free page on the freelist"
    if diff.unmap_user_first:
        list_lru_isolate(alloc.freelist, mdata)
    else:
        if kernel.truth is not None:
            kernel.truth.reclaimed(alloc, index)
        kernel.emit_pair(key | UNMAP_KERNEL_START)
        alloc.pages[index] = None
        kernel.memory.in_flight.add(page)
        list_lru_isolate(alloc.freelist, mdata)
        if not diff.alloc_lock_spans_zap:
            alloc.lock.unlock()

    if vma is not None:
        emit(key | UNMAP_USER_START)
        if kernel.scheduler.passes(ZAP_NS):
            yield
        vma.ptes.pop(index, None)  # zap_page_range() and its later names
        emit(key | UNMAP_USER_END)

    if diff.unmap_user_first:
        mm_lock.read_unlock()
        mmput_async(mm)
        if kernel.truth is not None:
            kernel.truth.reclaimed(alloc, index)
        kernel.emit_pair(key | UNMAP_KERNEL_START)
        alloc.pages[index] = None
        kernel.memory.in_flight.add(page)
        binder_free_page(kernel.memory, page, diff.mdata_per_page)
        alloc.lock.unlock()
    else:
        if diff.alloc_lock_spans_zap:
            alloc.lock.unlock()
        mm_lock.read_unlock()
        mmput_async(mm)
        binder_free_page(kernel.memory, page, diff.mdata_per_page)
    return LruStatus.LRU_REMOVED_RETRY


def binder_shrink_count(kernel: Kernel) -> int:
    return list_lru_count(kernel.binder_freelist)


def binder_shrink_scan(kernel: Kernel, nr_to_scan: int) -> Steps[int]:
    """Looks at up to `nr_to_scan` parked pages, oldest first; how many were taken back."""
    return list_lru_walk(kernel.binder_freelist, binder_alloc_free_page, nr_to_scan)

"""Address spaces, as far as binder touches them: `struct mm_struct`, the one VMA of each alloc, page tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from binder_observe.simulator.costs import MUNMAP_NS
from binder_observe.simulator.memory import Page
from binder_observe.simulator.scheduler import RwLock, Scheduler, Steps

if TYPE_CHECKING:
    from binder_observe.simulator.alloc import BinderAlloc


class Vma:
    """`struct vm_area_struct` with its page table entries by page index; `lock` is the per-VMA lock."""

    __slots__ = ("lock", "ptes")

    def __init__(self, scheduler: Scheduler) -> None:
        self.lock = RwLock(scheduler)
        self.ptes: dict[int, Page] = {}


class Mm:
    """`struct mm_struct`. `users` is mm_users: it falls to zero when the process exits and nobody holds it."""

    __slots__ = ("allocs", "mmap_lock", "users")

    def __init__(self, scheduler: Scheduler) -> None:
        self.users = 1
        self.mmap_lock = RwLock(scheduler)
        self.allocs: list[BinderAlloc] = []  # those whose mapping is in this mm


def mmget_not_zero(mm: Mm) -> bool:
    if mm.users == 0:
        return False
    mm.users += 1
    return True


def mmput_async(mm: Mm) -> None:
    """Drops a user; the last one takes the mappings down (exit_mmap())."""
    mm.users -= 1
    if mm.users == 0:
        for alloc in mm.allocs:
            vma_close(alloc)
        mm.allocs.clear()


def vma_lookup(alloc: BinderAlloc) -> Vma | None:
    """What lies at the alloc's addresses in its mm: its own mapping, another one, or nothing."""
    return alloc.vma


def vma_close(alloc: BinderAlloc) -> None:
    """The mapping goes: binder_vma_close() is told, and the reference to the file that the mapping held is dropped."""
    alloc.vma = None
    alloc.mapped = False  # binder_alloc_vma_close()
    if alloc.fput is not None:
        alloc.fput()


def munmap(alloc: BinderAlloc) -> Steps[None]:
    """munmap() of the whole binder mapping by its process."""
    scheduler = alloc.kernel.scheduler
    mm = alloc.mm
    yield from mm.mmap_lock.write_lock()
    vma = alloc.vma
    if vma is not None:
        yield from vma.lock.write_lock()
        if scheduler.passes(MUNMAP_NS):
            yield
        vma_close(alloc)
        vma.lock.write_unlock()
    mm.mmap_lock.write_unlock()
    if alloc in mm.allocs:
        mm.allocs.remove(alloc)

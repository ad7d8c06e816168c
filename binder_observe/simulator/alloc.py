"""`struct binder_alloc`: from mmap to release, and what the kernel prints of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from binder_observe.events import Kind
from binder_observe.simulator.buffers import BinderBuffer, binder_free_buf_locked, binder_insert_free_buffer
from binder_observe.simulator.kernel import Kernel
from binder_observe.simulator.list_lru import list_lru_del
from binder_observe.simulator.memory import BinderShrinkerMdata, Page
from binder_observe.simulator.mm import Mm, Vma
from binder_observe.simulator.pages import binder_free_page, page_to_lru
from binder_observe.simulator.rbtree import RbRoot
from binder_observe.simulator.scheduler import Lock, Steps
from binder_observe.simulator.trace import ALLOC_SHIFT, Task

SZ_4M: Final = 4 << 20
FREE: Final = 0  # the words of binder_alloc_print_pages(), numbered as in binder_observe.tracker.State
ACTIVE: Final = 1
LRU: Final = 2


class BinderAlloc:
    """`struct binder_alloc`. Addresses are offsets in the mapping: `vm_start` (before 6.14: `buffer`) is 0."""

    __slots__ = (
        "allocated_buffers", "buffer_size", "first_buffer", "fput", "free_async_space", "free_buffers", "freelist",
        "kernel", "key", "lock", "lru_pages", "mapped", "mm", "number", "oneway_spam_detected", "pages", "pages_high",
        "pid", "released", "vma",
    )  # fmt: skip

    def __init__(self, kernel: Kernel, owner: Task, mm: Mm) -> None:
        """binder_alloc_init(), called by binder_open()."""
        self.kernel = kernel
        self.number = kernel.next_alloc()  # what the events call it
        self.key = self.number << ALLOC_SHIFT
        self.pid = owner.tgid
        self.mm = mm
        self.lock = Lock(kernel.scheduler)  # `mutex`, or the spinlock `lock` of 6.8 to 6.13
        self.freelist = kernel.binder_freelist
        self.vma: Vma | None = None  # what the mm has at our addresses
        self.mapped = False  # alloc->mapped; before 6.14: alloc->vma is set
        self.fput: Callable[[], None] | None = None  # called when the mapping drops its reference to the file
        self.buffer_size = 0
        self.first_buffer: BinderBuffer | None = None  # `buffers`, the list in address order
        self.free_buffers = RbRoot()
        # By address. The kernel has a second tree here, but only its order can be observed, never its shape.
        self.allocated_buffers: dict[int, BinderBuffer] = {}
        self.free_async_space = 0
        self.pages: list[Page | None] = []
        self.lru_pages: list[BinderShrinkerMdata] = []  # the metadata array of the generations before 6.14
        self.pages_high = 0
        self.oneway_spam_detected = False
        self.released = False

    def page_states(self) -> bytes:
        """The state of each page by index: FREE, ACTIVE or LRU, whether or not the mapping is still there."""
        # page_to_lru() and list_empty(), written out: checkers ask after every step.
        return bytes([FREE if page is None else ACTIVE if page.private.next is None else LRU for page in self.pages])

    def page_counts(self) -> tuple[int, int, int]:
        """(active, lru, free) of `page_states()`."""
        states = self.page_states()
        return states.count(ACTIVE), states.count(LRU), states.count(FREE)

    def stats(self) -> tuple[int, int, int, int]:
        """(active, lru, free, pages_high): binder_alloc_print_pages()."""
        return binder_alloc_print_pages(self)


def binder_alloc_print_pages(alloc: BinderAlloc) -> tuple[int, int, int, int]:
    """(active, lru, free, pages_high) as /sys/kernel/debug/binder/stats has them: 0:0:0 when unmapped."""
    return (*(alloc.page_counts() if alloc.mapped else (0, 0, 0)), alloc.pages_high)


def binder_alloc_mmap_handler(alloc: BinderAlloc, vma_bytes: int, owner: Task, context: str) -> None:
    """The mapping is made: `vma_bytes` long, of which at most 4 MiB are used. One MMAP row says so.

    The caller sees to it that an alloc is mapped once (the kernel answers EBUSY).
    """
    kernel = alloc.kernel
    assert alloc.buffer_size == 0, "already mapped"
    alloc.buffer_size = min(vma_bytes + kernel.page_size - 1 & kernel.page_mask, SZ_4M)
    count = alloc.buffer_size >> kernel.page_shift
    alloc.pages = [None] * count
    if not kernel.diff.mdata_per_page:
        alloc.lru_pages = [BinderShrinkerMdata(alloc, i) for i in range(count)]
    buffer = BinderBuffer(0, None, None)
    alloc.first_buffer = buffer
    binder_insert_free_buffer(alloc, buffer)
    alloc.free_async_space = alloc.buffer_size // 2
    alloc.vma = Vma(kernel.scheduler)
    alloc.mm.allocs.append(alloc)
    kernel.allocs[alloc.number] = alloc
    alloc.mapped = True
    kernel.trace.describe(Kind.MMAP, alloc.number, count, context, owner)


def binder_alloc_deferred_release(alloc: BinderAlloc) -> Steps[None]:
    """The last reference to the file is gone: buffers are freed in address order, which parks their pages, then
    every page is freed without an event. The two events are a kprobe's at entry and return.
    """
    kernel = alloc.kernel
    memory = kernel.memory
    kernel.emit(alloc.key | Kind.RELEASE_START)
    if not alloc.lock.trylock():
        yield from alloc.lock.lock()
    assert not alloc.mapped, "released while mapped"  # the VMA holds a reference to the file
    if kernel.truth is not None:
        kernel.truth.release_start(alloc)
    for address in sorted(alloc.allocated_buffers):
        binder_free_buf_locked(alloc, alloc.allocated_buffers[address])
    buffer = alloc.first_buffer
    assert buffer is None or (buffer.free and buffer.next is None), "buffers left over"
    alloc.first_buffer = None
    alloc.free_buffers.rb_node = None
    for index, page in enumerate(alloc.pages):
        if page is None:
            continue
        list_lru_del(alloc.freelist, page_to_lru(page))
        alloc.pages[index] = None
        binder_free_page(memory, page, kernel.diff.mdata_per_page)
    alloc.lock.unlock()
    alloc.released = True
    kernel.allocs.pop(alloc.number, None)
    if kernel.truth is not None:
        kernel.truth.released(alloc)
    kernel.emit(alloc.key | Kind.RELEASE_END)

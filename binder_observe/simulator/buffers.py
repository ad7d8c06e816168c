"""`struct binder_buffer`: found by best fit, split, freed and merged."""

from __future__ import annotations

from errno import EINVAL, ENOMEM, ENOSPC, EPERM, ESRCH
from typing import TYPE_CHECKING, Final

from binder_observe.simulator.costs import LOCK_HELD_NS
from binder_observe.simulator.install import binder_install_buffer_pages, binder_update_page_range
from binder_observe.simulator.pages import (
    binder_alloc_is_mapped,
    binder_lru_freelist_add,
    binder_lru_freelist_del,
)
from binder_observe.simulator.rbtree import LEFT, RIGHT, RbNode, rb_erase, rb_insert_color, rb_link_node
from binder_observe.simulator.scheduler import Steps

if TYPE_CHECKING:
    from binder_observe.simulator.alloc import BinderAlloc

SIZE_MAX: Final = (1 << 64) - 1
SPAM_BUFFERS: Final = 50  # debug_low_async_space_locked(): more async buffers than this make a spammer


class BinderBuffer(RbNode):
    """`struct binder_buffer`. `next` and `prev` are its place in the list in address order (None at the ends); the
    inherited node is its place in the tree of free buffers. Its size is the way to the next one.
    """

    __slots__ = (
        "allow_user_free", "async_transaction", "data_size", "extra_buffers_size", "free", "next", "offsets_size",
        "oneway_spam_suspect", "pid", "prev", "user_data",
    )  # fmt: skip

    allow_user_free: bool
    async_transaction: bool
    data_size: int
    extra_buffers_size: int
    offsets_size: int
    oneway_spam_suspect: bool

    def __init__(self, user_data: int, prev: BinderBuffer | None, following: BinderBuffer | None) -> None:
        """A free one between `prev` and `following`. The rest is set as it goes into the tree or is allocated."""
        self.child = [None, None]  # all of the node that must be there before it is linked
        self.user_data = user_data
        self.prev = prev
        self.next = following
        self.free = True
        self.pid = 0


def binder_alloc_buffer_size(alloc: BinderAlloc, buffer: BinderBuffer) -> int:
    following = buffer.next
    return (alloc.buffer_size if following is None else following.user_data) - buffer.user_data


def binder_insert_free_buffer(alloc: BinderAlloc, new_buffer: BinderBuffer) -> None:
    """Into the tree by size; among equals the newest goes right."""
    root = alloc.free_buffers
    end = alloc.buffer_size
    following = new_buffer.next
    new_size = (end if following is None else following.user_data) - new_buffer.user_data
    parent: BinderBuffer | None = None
    node: BinderBuffer | None = root.rb_node
    side = LEFT
    while node is not None:
        parent = node
        following = node.next
        size = (end if following is None else following.user_data) - node.user_data
        side = LEFT if new_size < size else RIGHT
        node = node.child[side]
    rb_link_node(new_buffer, parent, side, root)
    if parent is None or parent.red:  # below a black one rb_insert_color() has nothing to do
        rb_insert_color(new_buffer, root)


def sanitized_size(data_size: int, offsets_size: int, extra_buffers_size: int) -> int:
    """What a buffer takes, bytes: three sizes, each rounded up to 8, together at least 8; 0 on overflow.

    The kernel's sizes are 64 bits wide and wrap; Python's do not, so the wrap shows as a sum beyond SIZE_MAX.
    """
    total = (data_size + 7 & ~7) + (offsets_size + 7 & ~7) + (extra_buffers_size + 7 & ~7)
    if total > SIZE_MAX:
        return 0
    return total if total > 8 else 8


def _best_fit(alloc: BinderAlloc, size: int) -> BinderBuffer | None:
    """The smallest free buffer that holds `size`; among equals the one that the walk down the tree meets."""
    end = alloc.buffer_size
    node: BinderBuffer | None = alloc.free_buffers.rb_node
    best_fit = None
    while node is not None:
        following = node.next
        buffer_size = (end if following is None else following.user_data) - node.user_data
        if size < buffer_size:
            best_fit = node
            node = node.child[LEFT]
        elif size > buffer_size:
            node = node.child[RIGHT]
        else:
            return node
    return best_fit


def _split(alloc: BinderAlloc, buffer: BinderBuffer, size: int) -> None:
    """Leaves `size` bytes to `buffer` and makes a free one of the rest.

    As in the kernel, the rest goes into the tree while `buffer` is still in it with its size already cut: the tree is
    out of order for a moment, and its later shape depends on that.
    """
    following = buffer.next
    new_buffer = BinderBuffer(buffer.user_data + size, buffer, following)
    if following is not None:
        following.prev = new_buffer
    buffer.next = new_buffer
    binder_insert_free_buffer(alloc, new_buffer)


def debug_low_async_space_locked(alloc: BinderAlloc, pid: int) -> bool:
    """One-way spam: True once, when `pid` holds too much of an async space that is nearly used up."""
    if alloc.free_async_space >= alloc.buffer_size // 10:
        alloc.oneway_spam_detected = False
        return False
    total_alloc_size = num_buffers = 0
    for buffer in alloc.allocated_buffers.values():
        if buffer.pid == pid and buffer.async_transaction:
            total_alloc_size += binder_alloc_buffer_size(alloc, buffer)
            num_buffers += 1
    if num_buffers <= SPAM_BUFFERS and total_alloc_size <= alloc.buffer_size // 4:
        return False
    said_before = alloc.oneway_spam_detected
    alloc.oneway_spam_detected = True
    return not said_before


def binder_alloc_new_buf_locked(
    alloc: BinderAlloc, buffer: BinderBuffer, start: int, end: int, size: int, is_async: bool, pid: int
) -> None:
    """Makes the free `buffer`, found by best fit, one of `size` bytes; [start, end) are its own pages."""
    diff = alloc.kernel.diff
    following = buffer.next
    if buffer.user_data + size != (alloc.buffer_size if following is None else following.user_data):
        _split(alloc, buffer, size)
    if diff.split_install and start < end:
        binder_lru_freelist_del(alloc, start, end)
    rb_erase(buffer, alloc.free_buffers)
    buffer.free = False
    buffer.allow_user_free = False
    alloc.allocated_buffers[buffer.user_data] = buffer
    buffer.async_transaction = is_async
    buffer.oneway_spam_suspect = False
    if diff.own_buffer_in_spam_count:
        buffer.pid = pid
    if is_async:
        alloc.free_async_space -= size
        buffer.oneway_spam_suspect = debug_low_async_space_locked(alloc, pid)


def binder_alloc_new_buf(
    alloc: BinderAlloc, data_size: int, offsets_size: int, extra_buffers_size: int, is_async: bool
) -> Steps[BinderBuffer | int]:
    """A buffer with its pages, for `current`; a negative error number when there is none.

    The kernel's binder_alloc_new_buf_locked() is in three parts here, so that only the one that can be overtaken is a
    generator: best fit, up to 6.7 the pages, and the rest.
    """
    kernel = alloc.kernel
    if not alloc.mapped:  # binder_alloc_is_mapped()
        return -ESRCH
    size = sanitized_size(data_size, offsets_size, extra_buffers_size)
    if not size:
        return -EINVAL
    split_install = kernel.diff.split_install
    if split_install and kernel.faults is not None and kernel.faults.strikes("no_buffer"):
        return -ENOMEM
    pid = kernel.trace.current.tgid

    lock = alloc.lock
    if not lock.trylock():
        yield from lock.lock()
    if kernel.scheduler.passes(LOCK_HELD_NS):
        yield
    # Up to 6.7 the check that the mapping is there is made under the lock.
    if not split_install and not binder_alloc_is_mapped(alloc):
        lock.unlock()
        return -ESRCH
    buffer = None if is_async and alloc.free_async_space < size else _best_fit(alloc, size)
    if buffer is None:
        lock.unlock()
        return -ENOSPC
    # The pages that the buffer has to itself, [start, end): the first is somebody's unless we begin it, and the last is
    # when the free buffer ends in it.
    page_mask = kernel.page_mask
    round_up = kernel.page_size - 1
    following = buffer.next
    next_used_page = (alloc.buffer_size if following is None else following.user_data) & page_mask
    start = buffer.user_data + round_up & page_mask
    end = buffer.user_data + size + round_up & page_mask
    if end > next_used_page:
        end = next_used_page
    if not split_install:
        ret = yield from binder_update_page_range(alloc, start, end)
        if ret == 0 and binder_alloc_buffer_size(alloc, buffer) != size and kernel.strikes("no_buffer"):
            binder_lru_freelist_add(alloc, start, end)
            ret = -ENOMEM
        if ret:
            lock.unlock()
            return ret
    binder_alloc_new_buf_locked(alloc, buffer, start, end, size, is_async, pid)
    buffer.data_size = data_size
    buffer.offsets_size = offsets_size
    buffer.extra_buffers_size = extra_buffers_size
    buffer.pid = pid
    lock.unlock()

    if split_install:
        pages = alloc.pages
        shift = kernel.page_shift
        first = buffer.user_data >> shift
        last = buffer.user_data + size - 1 >> shift
        # A look before the call saves a generator when all are installed, as they mostly are.
        if not all(pages[first : last + 1]):
            ret = yield from binder_install_buffer_pages(alloc, first, last)
            if ret:
                yield from binder_alloc_free_buf(alloc, buffer)
                return ret
    return buffer


def binder_delete_free_buffer(alloc: BinderAlloc, buffer: BinderBuffer) -> None:
    """`buffer` merges into the free one before it; the page on which their border lay is parked when neither the
    buffer before those nor the one after them uses it.
    """
    prev = buffer.prev
    following = buffer.next
    assert prev is not None
    assert prev.free
    kernel = alloc.kernel
    page_mask = kernel.page_mask
    start_page = buffer.user_data & page_mask  # buffer_start_page()
    if (
        buffer.user_data != start_page
        and prev.user_data - 1 & page_mask != start_page  # prev_buffer_end_page(): of the byte before `prev`
        and (following is None or following.user_data & page_mask != start_page)
    ):
        binder_lru_freelist_add(alloc, start_page, start_page + kernel.page_size)
    prev.next = following
    if following is not None:
        following.prev = prev


def binder_free_buf_locked(alloc: BinderAlloc, buffer: BinderBuffer) -> None:
    """Parks the pages that were the buffer's alone and merges it with its free neighbours."""
    kernel = alloc.kernel
    following = buffer.next
    buffer_end = alloc.buffer_size if following is None else following.user_data
    assert not buffer.free
    if buffer.async_transaction:
        alloc.free_async_space += buffer_end - buffer.user_data
    page_mask = kernel.page_mask
    start = buffer.user_data + kernel.page_size - 1 & page_mask
    end = buffer_end & page_mask
    if start < end:
        binder_lru_freelist_add(alloc, start, end)
    root = alloc.free_buffers
    del alloc.allocated_buffers[buffer.user_data]
    buffer.free = True
    if following is not None and following.free:
        rb_erase(following, root)
        binder_delete_free_buffer(alloc, following)
    prev = buffer.prev
    if prev is not None and prev.free:
        binder_delete_free_buffer(alloc, buffer)
        rb_erase(prev, root)
        buffer = prev
    binder_insert_free_buffer(alloc, buffer)


def binder_alloc_free_buf(alloc: BinderAlloc, buffer: BinderBuffer) -> Steps[None]:
    lock = alloc.lock
    if not lock.trylock():
        yield from lock.lock()
    if alloc.kernel.scheduler.passes(LOCK_HELD_NS):
        yield
    binder_free_buf_locked(alloc, buffer)
    lock.unlock()


def binder_alloc_prepare_to_free(alloc: BinderAlloc, user_ptr: int) -> BinderBuffer | int | None:
    """The buffer that user space names by its address: None when there is none there, -EPERM when it is not its to
    free (yet, or any more).
    """
    buffer = alloc.allocated_buffers.get(user_ptr)
    if buffer is None:
        return None
    if not buffer.allow_user_free:
        return -EPERM
    buffer.allow_user_free = False
    return buffer

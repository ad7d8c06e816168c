"""As much of drivers/android/binder.c as the allocator can tell: processes, files, transactions, release.

No objects are translated and nobody is woken: what counts is which buffer is allocated in which mapping, by whom, and
who frees it when.
"""

from __future__ import annotations

from collections import deque
from errno import ESRCH
from typing import Any

from binder_observe.events import Kind
from binder_observe.simulator.alloc import (
    BinderAlloc,
    binder_alloc_deferred_release,
    binder_alloc_mmap_handler,
)
from binder_observe.simulator.buffers import (
    BinderBuffer,
    binder_alloc_free_buf,
    binder_alloc_new_buf,
    binder_alloc_prepare_to_free,
    binder_free_buf_locked,
)
from binder_observe.simulator.costs import LOCK_HELD_NS
from binder_observe.simulator.kernel import Kernel
from binder_observe.simulator.mm import Mm, mmput_async, munmap
from binder_observe.simulator.scheduler import Steps, run_alone
from binder_observe.simulator.trace import Task

MIB = 1 << 20
COPY_NS = 300  # copying the data in and translating objects, after the buffer is there


def default_mapping_bytes(page_size: int) -> int:
    """What libbinder maps: BINDER_VM_SIZE in frameworks/native/libs/binder/ProcessState.cpp, 1 MiB less two pages."""
    return MIB - 2 * page_size


class Context:
    """`struct binder_context`: a device, and the process that manages it."""

    __slots__ = ("manager", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.manager: BinderProc | None = None


class Process:
    """A process: its main task, its mm and the binder files it holds, its own and inherited ones."""

    __slots__ = ("busy", "exited", "files", "kernel", "mm", "task")

    def __init__(self, kernel: Kernel, tgid: int, comm: str, cpu: int = 0) -> None:
        self.kernel = kernel
        self.task = Task(tgid, tgid, comm, cpu)
        self.mm = Mm(kernel.scheduler)
        self.files: list[BinderProc] = []
        self.exited: Any = False  # a bool, as `BinderProc.is_dead`
        self.busy = 0  # its threads inside an ioctl: it cannot be gone before they are out
        kernel.trace.describe(Kind.PROCESS, 0, 0, comm, self.task)


class BinderProc:
    """`struct binder_proc`: one open file of one context."""

    __slots__ = ("alloc", "async_todo", "context", "holders", "is_dead", "kernel", "opener", "tmp_ref")

    def __init__(self, opener: Process, context: Context) -> None:
        self.kernel = opener.kernel
        self.opener = opener
        self.context = context
        self.alloc = BinderAlloc(self.kernel, opener.task, opener.mm)
        self.holders = 0  # processes that have the file open
        self.is_dead: Any = False  # a bool; mypy must not conclude that it stays the same while its reader yields
        self.tmp_ref = 0
        # One-way transactions in the order sent; the first is the one being handled. One node stands for all.
        self.async_todo: deque[BinderBuffer] = deque()


def binder_open(process: Process, context: Context) -> BinderProc:
    """open() of the context's device, without the mapping; the first opener becomes the context manager."""
    proc = BinderProc(process, context)
    proc.holders = 1
    process.files.append(proc)
    if context.manager is None:
        context.manager = proc
    return proc


def binder_mmap(proc: BinderProc, vma_bytes: int) -> None:
    binder_alloc_mmap_handler(proc.alloc, vma_bytes, proc.opener.task, proc.context.name)
    proc.alloc.fput = lambda: _fput(proc)


def inherit(child: Process, parent: Process) -> None:
    """fork(): the child holds the parent's files. The mappings stay behind (VM_DONTCOPY)."""
    for proc in parent.files:
        proc.holders += 1
        child.files.append(proc)


def binder_transaction(
    sender: Process, target: BinderProc, data_size: int, offsets_size: int, extra_size: int, oneway: bool
) -> Steps[BinderBuffer | int]:
    """`current`, a thread of `sender`, sends to `target`: the buffer in the target's mapping, or an error number.

    When the target dies before the work is queued, the sender frees the buffer again.
    """
    if target.is_dead:
        return -ESRCH
    kernel = target.kernel
    target.tmp_ref += 1
    sender.busy += 1
    alloc = target.alloc
    buffer = yield from binder_alloc_new_buf(alloc, data_size, offsets_size, extra_size, oneway)
    if not isinstance(buffer, int):
        if kernel.scheduler.passes(COPY_NS):
            yield
        if target.is_dead:
            yield from binder_alloc_free_buf(alloc, buffer)
            buffer = -ESRCH
        elif not oneway:
            buffer.allow_user_free = True  # binder_thread_read(); nobody looks before it is delivered
        else:
            if not target.async_todo:
                buffer.allow_user_free = True
            target.async_todo.append(buffer)
    sender.busy -= 1
    target.tmp_ref -= 1
    if target.tmp_ref == 0 and target.is_dead:
        yield from _binder_free_proc(target)
    return buffer


def binder_free_buf(freer: Process, proc: BinderProc, buffer: BinderBuffer) -> Steps[int]:
    """BC_FREE_BUFFER by a thread of `freer`; a one-way buffer lets the next one-way transaction be delivered."""
    if proc.is_dead or binder_alloc_prepare_to_free(proc.alloc, buffer.user_data) is not buffer:
        return -ESRCH
    freer.busy += 1
    proc.tmp_ref += 1
    if buffer.async_transaction and proc.async_todo and proc.async_todo[0] is buffer:
        proc.async_todo.popleft()
        if proc.async_todo:
            proc.async_todo[0].allow_user_free = True
    alloc = proc.alloc
    lock = alloc.lock
    if not lock.trylock():  # binder_alloc_free_buf(), written out: it is half of all there is to do
        yield from lock.lock()
    if proc.kernel.scheduler.passes(LOCK_HELD_NS):
        yield
    binder_free_buf_locked(alloc, buffer)
    lock.unlock()
    freer.busy -= 1
    proc.tmp_ref -= 1
    if proc.tmp_ref == 0 and proc.is_dead:
        yield from _binder_free_proc(proc)
    return 0


def unmap(proc: BinderProc) -> Steps[None]:
    """munmap() of the binder mapping."""
    yield from munmap(proc.alloc)


def close(process: Process, proc: BinderProc) -> None:
    """The process drops the file; with the last holder and the mapping gone, the file is released."""
    process.files.remove(proc)
    proc.holders -= 1
    _fput(proc)


def exit_process(process: Process) -> Steps[None]:
    """The process ends: its threads leave the kernel, its mm goes (exit_mm()), then its files (exit_files())."""
    if process.exited:
        return
    process.exited = True
    scheduler = process.kernel.scheduler
    while process.busy:
        if scheduler.passes(5_000):
            yield
    mmput_async(process.mm)
    # Closing defers a flush of each file to the kworker's list, at its head, and release finds them there: the file
    # opened last goes first. Where the kworker is quick it can be otherwise; seen so on guests with two CPUs.
    for proc in reversed(process.files.copy()):
        close(process, proc)


def _fput(proc: BinderProc) -> None:
    """One reference to the file less. The last one defers binder_deferred_release() to a kworker."""
    if proc.holders or proc.alloc.vma is not None or proc.is_dead:
        return
    kernel = proc.kernel
    if kernel.scheduler.running is None:
        current = kernel.trace.current
        kernel.trace.current = KWORKER
        run_alone(_binder_deferred_release(proc))
        kernel.trace.current = current
    else:
        kernel.deferred.append(lambda: _binder_deferred_release(proc))
        if len(kernel.deferred) == 1:
            kernel.scheduler.spawn(KWORKER, _binder_deferred_func(kernel), delay_ns=20_000)


KWORKER = Task(61, 61, "kworker/0:2")


def _binder_deferred_func(kernel: Kernel) -> Steps[None]:
    """The one work item of the driver: releases one file after the other."""
    while kernel.deferred:
        yield from kernel.deferred[0]()
        kernel.deferred.popleft()


def _binder_deferred_release(proc: BinderProc) -> Steps[None]:
    """The process is dead to all others; undelivered work loses its transaction, and its buffers stay for the alloc's
    own release (binder_release_work(), binder_free_transaction()).
    """
    if proc.is_dead:
        return
    proc.tmp_ref += 1
    if proc.context.manager is proc:
        proc.context.manager = None
    proc.is_dead = True
    proc.async_todo.clear()
    proc.tmp_ref -= 1
    if proc.tmp_ref == 0:
        yield from _binder_free_proc(proc)


def _binder_free_proc(proc: BinderProc) -> Steps[None]:
    """Done by whoever drops the last reference to a dead process (binder_proc_dec_tmpref()): mostly the kworker, but
    the sender when the target died under its transaction.
    """
    yield from binder_alloc_deferred_release(proc.alloc)

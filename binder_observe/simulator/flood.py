"""The concurrent request of a list: senders that never rest and the manager's threads that serve them.

Each sender draws the same sizes as its twin in tests/kernels/workload_flood.c, so what does not depend on how threads
meet (what is sent, how often, how large) is the same on the model and on a kernel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from binder_observe.simulator.buffers import BinderBuffer
from binder_observe.simulator.driver import BinderProc, binder_free_buf, binder_transaction
from binder_observe.simulator.kernel import Kernel
from binder_observe.simulator.scheduler import NEVER, Steps, Thread
from binder_observe.simulator.trace import Task

SERVERS: Final = 4
IDLE_NS: Final = 20_000_000
POLL_NS: Final = 20_000
ATTEMPTS: Final = 1000
RETRY_NS: Final = 1_000_000
SYSCALL_NS: Final = 3_000
MASK: Final = (1 << 64) - 1


def splitmix64(state: int) -> Iterator[int]:
    """The senders' random numbers."""
    while True:
        state = state + 0x9E3779B97F4A7C15 & MASK
        mixed = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & MASK
        yield mixed ^ mixed >> 31


class _Work:
    """What a server thread takes up: a buffer that was delivered, and of a call whoever waits for the reply."""

    __slots__ = ("buffer", "bytes", "caller", "reply", "waiter")

    def __init__(self, buffer: BinderBuffer, size: int, caller: BinderProc | None) -> None:
        self.buffer = buffer
        self.bytes = size
        self.caller = caller
        self.waiter: Thread | None = None
        self.reply: BinderBuffer | int | None = None


class _Flood:
    def __init__(self, kernel: Kernel, manager: BinderProc, hold: int) -> None:
        self.kernel = kernel
        self.scheduler = kernel.scheduler
        self.manager = manager
        self.hold = hold
        self.todo: deque[_Work] = deque()
        self.held: deque[BinderBuffer] = deque()
        self.delivered: BinderBuffer | None = None  # the one-way that was last handed to a thread
        self.counts = {"sync": 0, "oneway": 0, "refused": 0, "failed": 0}
        self.oneways = 0
        self.senders = 0

    # Senders.

    def sender(self, file: BinderProc, seed: int, numbers: Mapping[str, int], mode: str) -> Steps[None]:
        random = splitmix64(seed)
        self.senders += 1
        for _ in range(numbers["count"]):
            size = numbers["min"] + next(random) % (numbers["max"] - numbers["min"] + 1)
            oneway = mode == "oneway" or (mode == "mixed" and bool(next(random) & 1))
            for _attempt in range(ATTEMPTS):
                if self.scheduler.passes(SYSCALL_NS):
                    yield
                if (yield from self._send(file, size, oneway)):
                    self.counts["oneway" if oneway else "sync"] += 1
                    break
                self.counts["refused"] += 1
                if self.scheduler.passes(RETRY_NS):
                    yield
            else:
                self.counts["failed"] += 1
        self.senders -= 1

    def _send(self, file: BinderProc, size: int, oneway: bool) -> Steps[bool]:
        buffer = yield from binder_transaction(file.opener, self.manager, size, 0, 0, oneway)
        if isinstance(buffer, int):
            return False
        if oneway:
            self._deliver()
            return True
        work = _Work(buffer, size, file)
        self.todo.append(work)
        while work.reply is None:
            work.waiter = self.scheduler.blocks()
            yield
        if isinstance(work.reply, int):
            return False
        yield from binder_free_buf(file.opener, file, work.reply)
        return True

    def _deliver(self) -> None:
        """Hands the one-way at the head of the queue to the threads, once."""
        queue = self.manager.async_todo
        if queue and queue[0] is not self.delivered:
            self.delivered = queue[0]
            self.todo.append(_Work(queue[0], 0, None))

    # Servers.

    def server(self) -> Steps[None]:
        scheduler = self.scheduler
        idle_since = self.kernel.trace.now
        while self.senders or self.todo or self.oneways < self.counts["oneway"]:
            if self.todo:
                yield from self._serve(self.todo.popleft())
                idle_since = self.kernel.trace.now
                continue
            if self.kernel.trace.now - idle_since >= IDLE_NS:
                idle_since = self.kernel.trace.now
                yield from self._free(self._rotate(None))  # all senders may be waiting for room
            if scheduler.passes(POLL_NS):
                yield

    def _serve(self, work: _Work) -> Steps[None]:
        manager = self.manager
        if work.caller is None:
            self.delivered = None  # not a name for long: the structure comes back as another buffer
            yield from self._free(work.buffer)
            self.oneways += 1
            self._deliver()
            return
        work.reply = yield from binder_transaction(manager.opener, work.caller, work.bytes, 0, 0, False)
        if work.waiter is not None:
            self.scheduler.wake(work.waiter, SYSCALL_NS)
            work.waiter = None
        yield from self._free(self._rotate(work.buffer))

    def _rotate(self, buffer: BinderBuffer | None) -> BinderBuffer | None:
        """Puts `buffer` with those held; what must leave them now."""
        if not self.hold:
            return buffer
        oldest = None
        if self.held and (len(self.held) == self.hold or buffer is None):
            oldest = self.held.popleft()
        if buffer is not None:
            self.held.append(buffer)
        return oldest

    def _free(self, buffer: BinderBuffer | None) -> Steps[None]:
        if buffer is not None:
            yield from binder_free_buf(self.manager.opener, self.manager, buffer)

    def drain(self) -> Steps[None]:
        while self.held:
            yield from self._free(self.held.popleft())


def flood(
    kernel: Kernel,
    manager: BinderProc,
    senders: Sequence[tuple[int, BinderProc]],
    numbers: Mapping[str, int],
    mode: str,
) -> dict[str, int]:
    """Runs a flood to its end; what workload.c prints of it. `senders` are (number of the process, its file)."""
    run = _Flood(kernel, manager, numbers["hold"])
    scheduler = kernel.scheduler
    tid = 10_000
    for actor, file in senders:
        for i in range(numbers["threads"]):
            tid += 1
            task = Task(file.opener.task.tgid, tid, file.opener.task.comm, tid % 4)
            seed = numbers["seed"] << 32 ^ actor << 16 ^ i
            scheduler.spawn(task, run.sender(file, seed, numbers, mode), int(kernel.random.random() * POLL_NS))
    owner = manager.opener.task
    for i in range(SERVERS):
        scheduler.spawn(Task(owner.tgid, owner.tid + 20_000 + i, owner.comm, i % 4), run.server(), POLL_NS)
    scheduler.run(NEVER, NEVER)
    scheduler.spawn(owner, run.drain())
    scheduler.run(NEVER, NEVER)
    counts = run.counts
    return {"sent": counts["sync"] + counts["oneway"], **counts}

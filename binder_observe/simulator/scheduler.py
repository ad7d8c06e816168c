"""Virtual time and concurrency: simulated threads, the locks they meet on, and who runs next.

A simulated thread is a generator. It yields where a kernel thread can be overtaken: while it waits, while it works
outside a lock, while it holds a lock that others only try. Between two yields it runs alone. The thread that is due
first runs next, so the interleaving follows from the delays, and these from the seed.

A yield costs the model more than an event does, so a thread first asks `passes()`: when nobody else is due before the
time is up, the clock moves on at once and there is nothing to yield for. The idiom is

    if scheduler.passes(1_000):
        yield
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from heapq import heapify, heappop, heappush, heappushpop
from typing import Final, TypeAlias, TypeVar

from binder_observe.simulator.trace import Task, Trace

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""A function of the model that can be overtaken: `result = yield from steps`."""

NEVER: Final = 1 << 62


class Thread:
    """A generator and the task it runs as."""

    __slots__ = ("resume", "task")

    def __init__(self, task: Task, steps: Steps[None]) -> None:
        self.task = task
        self.resume = steps.__next__


def _nothing() -> Steps[None]:
    yield


_END: Final = Thread(Task(0, 0, "nobody"), _nothing())


class Scheduler:
    """Threads by the time they are due."""

    __slots__ = ("_due", "_next_due", "_resume_at", "_running", "_serial", "_trace")

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._due: list[tuple[int, int, Thread]] = []
        self._next_due = NEVER
        self._resume_at = NEVER  # set by whoever is about to yield
        self._running: Thread | None = None
        self._serial = 0  # threads due at the same time run in the order in which they asked

    def passes(self, ns: int) -> bool:
        """`ns` pass for the running thread; True: it must yield, because somebody else is due first."""
        trace = self._trace
        then = trace.now + ns
        if then < self._next_due:
            trace.now = then
            return False
        self._resume_at = then
        return True

    def blocks(self) -> Thread | None:
        """The running thread is about to yield until somebody calls `wake()` on it; None: nobody is scheduled."""
        self._resume_at = NEVER
        return self._running

    def wake(self, thread: Thread, delay_ns: int = 0) -> None:
        """`thread` is due in `delay_ns`; for new threads and blocked ones."""
        at = self._trace.now + delay_ns
        self._serial += 1
        heappush(self._due, (at, self._serial, thread))
        if at < self._next_due:
            self._next_due = at

    def spawn(self, task: Task, steps: Steps[None], delay_ns: int = 0) -> Thread:
        thread = Thread(task, steps)
        self.wake(thread, delay_ns)
        return thread

    def become(self, task: Task) -> None:
        """The running thread goes on as `task`: the work moves to another process, as a call does."""
        if self._running is not None:
            self._running.task = task
        self._trace.current = task

    @property
    def running(self) -> Thread | None:
        """The thread that runs; None outside `run()`."""
        return self._running

    @property
    def next_due(self) -> int:
        """When the next thread is due, ns; NEVER when all are blocked or done."""
        return self._next_due

    def run(self, until_ns: int, max_log: int) -> None:
        """Runs threads until none is due before `until_ns` or the trace's log is `max_log` long."""
        due = self._due
        trace = self._trace
        log = trace.log
        end = (until_ns, -1, _END)  # stands among the threads, before those that are due at the same time
        heappush(due, end)
        entry = heappop(due)
        while entry is not end and len(log) < max_log:
            at, _, thread = entry
            self._next_due = due[0][0]  # whose turn it is to yield to
            self._running = thread
            trace.current = thread.task
            if at > trace.now:  # it is later where the thread before did not look at the clock while it emitted
                trace.now = at
            try:
                thread.resume()
            except StopIteration:
                entry = heappop(due)
                continue
            if self._resume_at == NEVER:
                entry = heappop(due)
            else:
                self._serial += 1
                entry = heappushpop(due, (self._resume_at, self._serial, thread))
        if entry is not end:  # enough is waiting in the log
            heappush(due, entry)
            due.remove(end)
            heapify(due)
        self._running = None
        self._next_due = due[0][0] if due else NEVER


def run_alone(steps: Steps[T]) -> T:
    """Runs `steps` to its end with nobody else about; for single-threaded use of the model."""
    try:
        next(steps)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise RuntimeError("the model blocked with no other thread to wake it")


class Lock:
    """A lock that one thread holds: a mutex or a spinlock (`struct mutex`, `spinlock_t`)."""

    __slots__ = ("_scheduler", "_waiters", "held")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiters: deque[Thread] = deque()
        self.held = False

    def trylock(self) -> bool:
        if self.held:
            return False
        self.held = True
        return True

    def lock(self) -> Steps[None]:
        """Waits its turn. `if not lock.trylock(): yield from lock.lock()` saves a generator where it is free."""
        while self.held:
            thread = self._scheduler.blocks()
            if thread is not None:
                self._waiters.append(thread)
            yield
        self.held = True

    def unlock(self) -> None:
        self.held = False
        if self._waiters:
            self._scheduler.wake(self._waiters.popleft())


class RwLock:
    """A lock for many readers or one writer (`mmap_lock`, a VMA's lock)."""

    __slots__ = ("_scheduler", "_waiters", "_writer_waits", "readers", "writer")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiters: deque[Thread] = deque()
        self._writer_waits = 0
        self.readers = 0
        self.writer = False

    def read_trylock(self) -> bool:
        if self.writer:
            return False
        self.readers += 1
        return True

    def read_lock(self) -> Steps[None]:
        while self.writer or self._writer_waits:  # a waiting writer is not starved
            yield from self._wait()
        self.readers += 1

    def read_unlock(self) -> None:
        self.readers -= 1
        if not self.readers:
            self._wake()

    def write_lock(self) -> Steps[None]:
        while self.writer or self.readers:
            self._writer_waits += 1
            yield from self._wait()
            self._writer_waits -= 1
        self.writer = True

    def write_unlock(self) -> None:
        self.writer = False
        self._wake()

    def _wait(self) -> Steps[None]:
        thread = self._scheduler.blocks()
        if thread is not None:
            self._waiters.append(thread)
        yield

    def _wake(self) -> None:
        while self._waiters:
            self._scheduler.wake(self._waiters.popleft())

"""The event log of the model: what the tracepoints write, and the virtual clock that stamps it.

The model emits some hundred thousand events for each second of ours, so one event is one Python integer
(`alloc << 32 | page << 8 | kind`) appended to a list. Who is `current` and what time it is are written down only when
they change; `take()` spreads them over the rows with numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe.events import EventBatch, Kind

EVENT_NS: Final = 150
"""What one step of the allocator costs, from one event to the next, ns. A choice: the order of magnitude of a
list operation with its lock on a phone's core; nothing is concluded from it."""

ALLOC_SHIFT: Final = 32
PAGE_SHIFT: Final = 8


@dataclass(slots=True, eq=False)
class Task:
    """A task as far as the events know it: `current`."""

    tgid: int
    tid: int
    comm: str
    cpu: int = 0


class Trace:
    """Rows that wait to be taken, and the clock.

    `now` is exact at any moment: the time of the last jump plus `EVENT_NS` for each event since. Each event moves the
    one clock of the model on, so times never run backwards; waits of several threads overlap.
    """

    __slots__ = (
        "_names", "current", "emit", "emitted", "jump_rows", "jump_times", "row_zero_ns", "rows", "switch_rows",
        "switch_tasks",
    )  # fmt: skip

    def __init__(self, boot_ns: int) -> None:
        self.rows: list[int] = []
        self.emit = self.rows.append
        self.emitted = 0  # rows taken so far: row numbers of the whole run are `emitted + len(rows)`
        self.current = Task(0, 0, "swapper/0")
        self.row_zero_ns = boot_ns  # when row 0 would have been, had the clock not jumped since
        # Flat lists of integers: tuples would keep the garbage collector busy.
        self.jump_rows = [0]  # before which row the clock jumped...
        self.jump_times = [boot_ns]  # ...and to what
        self.switch_rows = [0]  # before which row `current` changed...
        self.switch_tasks = [self.current]  # ...and to whom
        self._names: dict[int, str] = {}

    @property
    def now(self) -> int:
        """The virtual clock, ns."""
        return self.row_zero_ns + len(self.rows) * EVENT_NS

    @property
    def row(self) -> int:
        """The number, counted over the whole run, of the row that comes next."""
        return self.emitted + len(self.rows)

    def advance_to(self, now: int) -> None:
        """Time passes with nothing to tell."""
        row = len(self.rows)
        self.row_zero_ns = now - row * EVENT_NS
        self.jump_rows.append(row)
        self.jump_times.append(now)

    def switch_to(self, task: Task, now: int) -> None:
        """`task` is `current` from `now` on."""
        row = len(self.rows)
        self.current = task
        self.switch_rows.append(row)
        self.switch_tasks.append(task)
        self.row_zero_ns = now - row * EVENT_NS
        self.jump_rows.append(row)
        self.jump_times.append(now)

    def describe(self, kind: Kind, alloc: int, page: int, name: str, owner: Task) -> None:
        """A description row (MMAP, PROCESS): its tgid is the owner, whoever is `current`."""
        current = self.current
        self.switch_to(owner, self.now)
        self._names[len(self.rows)] = name
        self.emit(alloc << ALLOC_SHIFT | page << PAGE_SHIFT | kind)
        self.switch_to(current, self.now)

    def take(self) -> EventBatch:
        """The rows since the last call, as a batch."""
        rows = np.array(self.rows, dtype=np.uint64)
        n = len(rows)
        jumps = np.array(self.jump_rows, dtype=np.int64)
        # What each stretch between two jumps starts from, less what its own rows add: row r is at this + r * EVENT_NS.
        from_ns = np.array(self.jump_times, dtype=np.int64) - jumps * EVENT_NS
        tasks = self.switch_tasks
        lengths = _lengths(self.switch_rows, n)
        batch = EventBatch(
            ts_ns=np.repeat(from_ns, _lengths(self.jump_rows, n)) + np.arange(n, dtype=np.int64) * EVENT_NS,
            kind=(rows & np.uint64(0xFF)).astype(np.uint8),
            alloc=(rows >> np.uint64(ALLOC_SHIFT)).astype(np.uint32),
            page=(rows >> np.uint64(PAGE_SHIFT) & np.uint64(0xFFFFFF)).astype(np.uint32),
            cpu=np.repeat(np.array([task.cpu for task in tasks], dtype=np.uint16), lengths),
            tgid=np.repeat(np.array([task.tgid for task in tasks], dtype=np.uint32), lengths),
            tid=np.repeat(np.array([task.tid for task in tasks], dtype=np.uint32), lengths),
            names=self._names,
        )
        now = self.now
        self.rows.clear()
        self.emitted += n
        self._names = {}
        for waiting in (self.jump_rows, self.jump_times, self.switch_rows, self.switch_tasks):
            waiting.clear()
        self.switch_to(self.current, now)
        return batch


def _lengths(starts: list[int], end: int) -> NDArray[np.int64]:
    """How many rows each stretch has, of stretches that start at `starts` and fill `end` rows."""
    lengths = np.empty(len(starts), dtype=np.int64)
    lengths[:-1] = np.subtract(starts[1:], starts[:-1])
    lengths[-1] = end - starts[-1]
    return lengths

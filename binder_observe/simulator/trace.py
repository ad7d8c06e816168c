"""The event log of the model: what the tracepoints write, and the virtual clock that stamps it.

The model emits half a million events for each second of ours, so the log is one list of integers, and an event is one
of them: `alloc << 32 | page << 8 | kind`. Who is `current` and what time it is are written down only when they change,
as negative numbers between the events; `take()` spreads them over the rows with numpy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe.events import EventBatch, Kind

EVENT_NS: Final = 150
"""What one step of the allocator costs, from one event to the next, ns. A choice: the order of magnitude of a
list operation with its lock on a phone's core; nothing is concluded from it."""

ALLOC_SHIFT: Final = 32
PAGE_SHIFT: Final = 8

# In the log, `-ns` says that the next event is at that time, and `SWITCH - who` that `current` is another task.
SWITCH: Final = -1 << 62
_CPU_BITS: Final = 16
_PID_BITS: Final = 23  # PID_MAX_LIMIT is 1 << 22 (include/linux/threads.h), and an invented thread is beyond the real


@dataclass(slots=True, eq=False)
class Task:
    """A task as far as the events know it: `current`."""

    tgid: int
    tid: int
    comm: str
    cpu: int = 0
    mark: int = field(init=False, repr=False)  # what the log says when it becomes `current`

    def __post_init__(self) -> None:
        self.mark = SWITCH - ((self.tgid << _PID_BITS | self.tid) << _CPU_BITS | self.cpu)


class Trace:
    """What waits to be taken, and the clock.

    `now` is exact at any moment: the time of the last jump plus `EVENT_NS` for each event since. Each event moves the
    one clock of the model on, so times never run backwards; waits of several threads overlap.
    """

    __slots__ = ("_names", "_taken", "current", "emit", "log", "row_entries", "zero_ns")

    def __init__(self, boot_ns: int) -> None:
        self.log: list[int] = []
        self.emit = self.log.append
        self._taken = 0  # entries taken so far
        self.row_entries = np.zeros(0, dtype=np.int64)  # of the batch last taken: `entry` of each row
        self.current = Task(0, 0, "swapper/0")
        self.zero_ns = boot_ns  # when entry 0 would have been, were all from there to the last jump events
        self._names: dict[int, str] = {}
        self.switch_to(self.current, boot_ns)

    @property
    def now(self) -> int:
        """The virtual clock, ns."""
        return self.zero_ns + len(self.log) * EVENT_NS

    @property
    def entry(self) -> int:
        """The number, counted over the whole run, of the entry that comes next."""
        return self._taken + len(self.log)

    def advance_to(self, now: int) -> None:
        """Time passes with nothing to tell."""
        self.log.append(-now)
        self.zero_ns = now - len(self.log) * EVENT_NS

    def switch_to(self, task: Task, now: int) -> None:
        """`task` is `current` from `now` on."""
        self.current = task
        self.log.append(task.mark)
        self.log.append(-now)
        self.zero_ns = now - len(self.log) * EVENT_NS

    def describe(self, kind: Kind, alloc: int, page: int, name: str, owner: Task) -> None:
        """A description row (MMAP, PROCESS): its tgid is the owner, whoever is `current`."""
        current = self.current
        self.switch_to(owner, self.now)
        self._names[len(self.log)] = name
        self.emit(alloc << ALLOC_SHIFT | page << PAGE_SHIFT | kind)
        self.switch_to(current, self.now)

    def take(self) -> EventBatch:
        """The events since the last call, as a batch."""
        log = np.array(self.log, dtype=np.int64)
        at = np.flatnonzero(log >= 0)
        events = log[at]
        jumps = np.flatnonzero((log < 0) & (log > SWITCH))
        since = _holding(jumps, at)
        who = SWITCH - log[_holding(np.flatnonzero(log <= SWITCH), at)]
        batch = EventBatch(
            ts_ns=(at - since - 1) * EVENT_NS - log[since],
            kind=(events & 0xFF).astype(np.uint8),
            alloc=(events >> ALLOC_SHIFT).astype(np.uint32),
            page=(events >> PAGE_SHIFT & 0xFFFFFF).astype(np.uint32),
            cpu=(who & (1 << _CPU_BITS) - 1).astype(np.uint16),
            tgid=(who >> _CPU_BITS + _PID_BITS).astype(np.uint32),
            tid=(who >> _CPU_BITS & (1 << _PID_BITS) - 1).astype(np.uint32),
            names={int(np.searchsorted(at, entry)): name for entry, name in self._names.items()},
        )
        now = self.now
        self.row_entries = at + self._taken
        self._taken += len(log)
        self.log.clear()
        self._names = {}
        self.switch_to(self.current, now)
        return batch


def _holding(marks: NDArray[np.intp], at: NDArray[np.intp]) -> NDArray[np.intp]:
    """The last of `marks` before each of the entries `at`; both ascend, and the first mark comes before all."""
    return np.repeat(marks, np.diff(np.searchsorted(at, marks), append=len(at)))

"""The event log of the model: what the tracepoints write, and the virtual clock that stamps it.

The model emits some hundred thousand events for each second of ours, so the log is one list of integers, three for an
event: when, who is `current`, and `alloc << 32 | page << 8 | kind`. `take()` makes columns of them with numpy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from binder_observe.events import EventBatch, Kind

EVENT_NS: Final = 150
"""What one step of the allocator costs, from one event to the next, ns. A choice: the order of magnitude of a
list operation with its lock on a phone's core; nothing is concluded from it."""

ALLOC_SHIFT: Final = 32
PAGE_SHIFT: Final = 8

_PAIR: Final = 0x80  # beside a `_START` kind: its `_END`, the next number, comes right after it
_CPU_BITS: Final = 16
_PID_BITS: Final = 23  # PID_MAX_LIMIT is 1 << 22 (include/linux/threads.h), and an invented thread is beyond the real


@dataclass(slots=True, eq=False)
class Task:
    """A task as far as the events know it: `current`."""

    tgid: int
    tid: int
    comm: str
    cpu: int = 0
    who: int = field(init=False, repr=False)  # all but the name, as the log keeps it

    def __post_init__(self) -> None:
        self.who = (self.tgid << _PID_BITS | self.tid) << _CPU_BITS | self.cpu


class Trace:
    """What waits to be taken, the task that is `current`, and the clock, `now`, ns.

    Each event moves the one clock of the model on by `EVENT_NS`, so times never run backwards; waits of several threads
    overlap.
    """

    __slots__ = ("_names", "current", "log", "now")

    def __init__(self, boot_ns: int) -> None:
        self.now = boot_ns
        self.current = Task(0, 0, "swapper/0")
        self.log: list[int] = []  # flat: tuples would keep the garbage collector busy
        self._names: dict[int, str] = {}

    def emit(self, event: int) -> None:
        """An event of `current`, now."""
        now = self.now
        self.log.extend((now, self.current.who, event))
        self.now = now + EVENT_NS

    def emit_pair(self, start: int) -> None:
        """A `_START` event and its `_END`, with nothing between them that anybody could see."""
        now = self.now
        self.log.extend((now, self.current.who, start | _PAIR))
        self.now = now + 2 * EVENT_NS

    def describe(self, kind: Kind, alloc: int, page: int, name: str, owner: Task) -> None:
        """A description row (MMAP, PROCESS): its tgid is the owner, whoever is `current`."""
        current = self.current
        self.current = owner
        self._names[len(self.log) // 3] = name
        self.emit(alloc << ALLOC_SHIFT | page << PAGE_SHIFT | kind)
        self.current = current

    def take(self) -> EventBatch:
        """The events since the last call, as a batch."""
        log = np.array(self.log, dtype=np.int64).reshape(-1, 3)
        entry = np.repeat(np.arange(len(log)), 1 + (log[:, 2] & _PAIR != 0))  # of each row
        second = np.diff(entry, prepend=-1) == 0
        ts, who, event = log[entry].T
        batch = EventBatch(
            ts_ns=ts + second * EVENT_NS,
            kind=((event & _PAIR - 1) + second).astype(np.uint8),
            alloc=(event >> ALLOC_SHIFT).astype(np.uint32),
            page=(event >> PAGE_SHIFT & 0xFFFFFF).astype(np.uint32),
            cpu=(who & (1 << _CPU_BITS) - 1).astype(np.uint16),
            tgid=(who >> _CPU_BITS + _PID_BITS).astype(np.uint32),
            tid=(who >> _CPU_BITS & (1 << _PID_BITS) - 1).astype(np.uint32),
            names={int(np.searchsorted(entry, at)): name for at, name in self._names.items()},
        )
        self.log.clear()
        self._names = {}
        return batch

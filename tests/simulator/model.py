"""What the tests of the model share: a machine with one mapping, and a tracker of a few lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeVar

import numpy as np

from binder_observe.events import LRU_SKIPS, EventBatch, Kind
from binder_observe.simulator.alloc import ACTIVE, FREE, LRU, BinderAlloc, binder_alloc_mmap_handler
from binder_observe.simulator.buffers import BinderBuffer, binder_alloc_free_buf, binder_alloc_new_buf
from binder_observe.simulator.generation import GENERATIONS
from binder_observe.simulator.kernel import Kernel
from binder_observe.simulator.mm import Mm
from binder_observe.simulator.scheduler import Steps, run_alone
from binder_observe.simulator.trace import Task

T = TypeVar("T")
ALL: Final = tuple(GENERATIONS)
SPLIT: Final = tuple(name for name, d in GENERATIONS.items() if d.split_install)
OWNER: Final = Task(100, 100, "owner")
SENDER: Final = Task(200, 201, "sender", 1)
PAGE: Final = 4096

Event = tuple[str, int]


class Machine:
    """A kernel and one mapping of it; everything runs alone unless a test uses the scheduler."""

    def __init__(self, generation: str = "6.14", pages: int = 32, page_size: int = PAGE) -> None:
        self.kernel = Kernel(generation, page_size=page_size)
        self.alloc = self.map(pages)
        self.kernel.trace.current = SENDER
        self.events()

    def map(self, pages: int, owner: Task = OWNER, mm: Mm | None = None) -> BinderAlloc:
        alloc = BinderAlloc(self.kernel, owner, mm or Mm(self.kernel.scheduler))
        binder_alloc_mmap_handler(alloc, pages * self.kernel.page_size, owner, "binder")
        return alloc

    def new(self, size: int, *, is_async: bool = False, alloc: BinderAlloc | None = None) -> BinderBuffer:
        buffer = self.try_new(size, is_async=is_async, alloc=alloc)
        assert isinstance(buffer, BinderBuffer), buffer
        return buffer

    def try_new(self, size: int, *, is_async: bool = False, alloc: BinderAlloc | None = None) -> BinderBuffer | int:
        return run_alone(binder_alloc_new_buf(alloc or self.alloc, size, 0, 0, is_async))

    def free(self, *buffers: BinderBuffer, alloc: BinderAlloc | None = None) -> None:
        for buffer in buffers:
            run_alone(binder_alloc_free_buf(alloc or self.alloc, buffer))

    def run(self, steps: Steps[T]) -> T:
        return run_alone(steps)

    def events(self) -> list[Event]:
        """(kind, page) of what has happened since the last call, descriptions left out."""
        return [(Kind(k).name, int(p)) for k, p in zip(*self._columns("kind", "page"), strict=True)]

    def skips(self) -> list[Event]:
        """The same of LRU_SKIP, which stands in no other list of events."""
        batch = self.kernel.trace.take()
        kept = np.isin(batch.kind, LRU_SKIPS)
        return [(Kind(k).name, int(p)) for k, p in zip(batch.kind[kept], batch.page[kept], strict=True)]

    def _columns(self, *names: str) -> list[Any]:
        batch = self.kernel.trace.take()
        kept = batch.kind <= Kind.RELEASE_END
        return [getattr(batch, name)[kept] for name in names]

    def states(self, alloc: BinderAlloc | None = None) -> str:
        """The pages by index: . free, A active, L lru."""
        return "".join(".AL"[state] for state in (alloc or self.alloc).page_states())

    def buffers(self) -> list[tuple[int, int, bool]]:
        """(offset, size, free) in address order; checks the list on the way."""
        found = []
        buffer = self.alloc.first_buffer
        prev = None
        while buffer is not None:
            assert buffer.prev is prev
            end = self.alloc.buffer_size if buffer.next is None else buffer.next.user_data
            found.append((buffer.user_data, end - buffer.user_data, buffer.free))
            prev, buffer = buffer, buffer.next
        return found


def pair(kind: str, *pages: int) -> list[Event]:
    """The `_START` and `_END` of each page, one page after the other."""
    return [(f"{kind}_{half}", page) for page in pages for half in ("START", "END")]


def install(*pages: int) -> list[Event]:
    return pair("ALLOC_PAGE", *pages)


def reuse(*pages: int) -> list[Event]:
    return pair("ALLOC_LRU", *pages)


def park(*pages: int) -> list[Event]:
    return pair("FREE_LRU", *pages)


class TinyTracker:
    """Page states and lives from events alone, by the table of the kernel facts, as plainly as can be.

    Any event that the state before it does not allow is an AssertionError.
    """

    def __init__(self) -> None:
        self.states: dict[int, list[int]] = {}
        self.open: dict[tuple[int, int], list[tuple[str, int]]] = {}
        self.lives: list[tuple[int, int, tuple[tuple[str, int], ...], str, int | None]] = []
        self.releasing: set[int] = set()
        self.released: dict[int, bytes] = {}
        self.duplicates = 0
        self.attached = self.detached = False

    def feed(self, batches: Iterable[EventBatch]) -> TinyTracker:
        for batch in batches:
            for row in batch.rows():
                self._event(*row)
        return self

    def _event(
        self, ts: int, kind: Kind, alloc: int, page: int, _cpu: int, _tgid: int, _tid: int, name: str | None
    ) -> None:
        assert not self.detached
        assert self.attached or kind is Kind.ATTACH
        if kind is Kind.ATTACH:
            self.attached = True
        elif kind is Kind.DETACH:
            self.detached = True
        elif kind is Kind.MMAP:
            assert alloc not in self.states
            assert name
            self.states[alloc] = [FREE] * page
        elif kind is Kind.RELEASE_START:
            self.releasing.add(alloc)
            self.released[alloc] = bytes(self.states[alloc])
        elif kind is Kind.RELEASE_END:
            for key in sorted(key for key in self.open if key[0] == alloc):
                self._end(key, "released", ts)
            del self.states[alloc]
        elif kind is not Kind.PROCESS:
            self._page(ts, kind, alloc, page)

    def _page(self, ts: int, kind: Kind, alloc: int, page: int) -> None:
        states = self.states[alloc]
        state = states[page]
        key = (alloc, page)
        if kind is Kind.ALLOC_PAGE_START:
            assert state != LRU
        elif kind is Kind.ALLOC_PAGE_END:
            assert state != LRU
            if state == ACTIVE:
                self.duplicates += 1
            else:
                states[page] = ACTIVE
                self.open[key] = [("active", ts)]
        elif kind is Kind.ALLOC_LRU_START:
            assert state == LRU
            states[page] = ACTIVE
            self.open[key].append(("active", ts))
        elif kind is Kind.FREE_LRU_START:
            assert state == ACTIVE
            states[page] = LRU
            if alloc not in self.releasing:
                self.open[key].append(("lru", ts))
        elif kind is Kind.UNMAP_KERNEL_START:
            assert state == LRU
            states[page] = FREE
            self._end(key, "reclaimed", ts)

    def _end(self, key: tuple[int, int], ended: str, ts: int | None) -> None:
        self.lives.append((*key, tuple(self.open.pop(key)), ended, ts))

    def all_lives(self) -> list[tuple[int, int, tuple[tuple[str, int], ...], str, int | None]]:
        alive = [(*key, tuple(spans), "alive", None) for key, spans in self.open.items()]
        return sorted([*self.lives, *alive], key=lambda life: (life[0], life[1], life[2][0][1]))

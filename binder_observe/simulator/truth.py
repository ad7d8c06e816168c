"""What really happened to each page, written down by the model itself where its state changes.

This is the judge of everything that only sees the events: it is told of states by the allocator's functions, never by
the event log; from the log it takes the numbers of entries, to say when. An install counts from its first
ALLOC_PAGE_END, because until that nobody outside can know of it; a park, reuse or reclaim from its own `_START`;
a release ends all lives at RELEASE_END, and what is parked inside it is teardown and opens no span.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from binder_observe.events import EventBatch

if TYPE_CHECKING:
    from binder_observe.simulator.alloc import BinderAlloc
    from binder_observe.simulator.trace import Trace

Ended = Literal["reclaimed", "released", "alive"]


@dataclass(frozen=True, slots=True)
class Life:
    """One life of one page. `spans` are (state, since_ns) in order, "active" first; each lasts until the next, the
    last until `end_ns`, which is None for a page still alive.
    """

    alloc: int
    page: int
    birth_ns: int
    spans: tuple[tuple[Literal["active", "lru"], int], ...]
    ended: Ended
    end_ns: int | None

    @property
    def reuses(self) -> int:
        return sum(state == "active" for state, _ in self.spans) - 1


@dataclass(slots=True)
class _Entries:
    """A life in entries of the log."""

    alloc: int
    page: int
    birth: int | None = None  # None: installed, but nobody has said so yet
    spans: list[tuple[Literal["active", "lru"], int]] = field(default_factory=list)
    ended: Ended = "alive"
    end: int | None = None


class Truth:
    """The lives so far. Feed each batch that leaves the trace to `timestamps()`, and ask for `lives()` in the end."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._open: dict[tuple[int, int], _Entries] = {}
        self._done: list[_Entries] = []
        self._releasing: set[int] = set()
        self._entries: list[NDArray[np.int64]] = []
        self._ts: list[NDArray[np.int64]] = []
        self.final: dict[int, tuple[bytes, int]] = {}
        """(page states, pages_high) of each released alloc, just before its release."""

    def _last(self) -> int:
        return self._trace.entry - 1

    # Called by the allocator where the state of a page changes.

    def installed(self, alloc: BinderAlloc, index: int) -> None:
        self._open[alloc.number, index] = _Entries(alloc.number, index)

    def announced(self, alloc: BinderAlloc, index: int) -> None:
        """An ALLOC_PAGE_END was emitted; the first one dates the birth."""
        life = self._open[alloc.number, index]
        if life.birth is None:
            life.birth = self._last()
            life.spans.append(("active", life.birth))

    def parked(self, alloc: BinderAlloc, index: int) -> None:
        if alloc.number not in self._releasing:
            self._open[alloc.number, index].spans.append(("lru", self._last()))

    def reused(self, alloc: BinderAlloc, index: int) -> None:
        self._open[alloc.number, index].spans.append(("active", self._last()))

    def reclaimed(self, alloc: BinderAlloc, index: int) -> None:
        life = self._open.pop((alloc.number, index))
        life.ended = "reclaimed"
        life.end = self._last()
        self._done.append(life)

    def release_start(self, alloc: BinderAlloc) -> None:
        self._releasing.add(alloc.number)
        self.final[alloc.number] = (alloc.page_states(), alloc.pages_high)

    def released(self, alloc: BinderAlloc) -> None:
        self._releasing.discard(alloc.number)
        for key in [key for key in self._open if key[0] == alloc.number]:
            life = self._open.pop(key)
            life.ended = "released"
            life.end = self._last()
            self._done.append(life)

    # Called by whoever takes the batches.

    def timestamps(self, batch: EventBatch) -> None:
        """Keeps the times of the batch that was last taken from the trace."""
        self._entries.append(self._trace.row_entries)
        self._ts.append(batch.ts_ns)

    def lives(self) -> list[Life]:
        """Every life that the events taken so far can know of, by alloc, page and birth."""
        ts = np.concatenate([np.empty(0, dtype=np.int64), *self._ts])
        entries = np.concatenate([np.empty(0, dtype=np.int64), *self._entries])

        def when(entry: int) -> int:
            return int(ts[np.searchsorted(entries, entry)])

        lives = [
            Life(
                life.alloc,
                life.page,
                when(life.birth),
                tuple((state, when(entry)) for state, entry in life.spans),
                life.ended,
                None if life.end is None else when(life.end),
            )
            for life in (*self._done, *self._open.values())
            if life.birth is not None
        ]
        return sorted(lives, key=lambda life: (life.alloc, life.page, life.birth_ns))

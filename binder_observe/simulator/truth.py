"""What really happened to each page, written down by the model itself where its state changes.

This is the judge of everything that only sees the events: it is told of states by the allocator's functions, never by
the event log, just before the event that tells of it; when, the clock says. An install counts from its first
ALLOC_PAGE_END, because until that nobody outside can know of it; a park, reuse or reclaim from its own `_START`;
a release ends all lives at RELEASE_END, and what is parked inside it is teardown and opens no span.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

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
class _Unfinished:
    """A life while it is lived."""

    alloc: int
    page: int
    birth_ns: int | None = None  # None: installed, but nobody has said so yet
    spans: list[tuple[Literal["active", "lru"], int]] = field(default_factory=list)
    ended: Ended = "alive"
    end_ns: int | None = None


class Truth:
    """The lives so far; ask for `lives()` in the end."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._open: dict[tuple[int, int], _Unfinished] = {}
        self._done: list[_Unfinished] = []
        self._releasing: set[int] = set()
        self.final: dict[int, tuple[bytes, int]] = {}
        """(page states, pages_high) of each released alloc, just before its release."""

    # Called by the allocator where the state of a page changes.

    def installed(self, alloc: BinderAlloc, index: int) -> None:
        self._open[alloc.number, index] = _Unfinished(alloc.number, index)

    def announced(self, alloc: BinderAlloc, index: int) -> None:
        """ALLOC_PAGE_END comes; the first one dates the birth."""
        life = self._open[alloc.number, index]
        if life.birth_ns is None:
            life.birth_ns = self._trace.now
            life.spans.append(("active", life.birth_ns))

    def parked(self, alloc: BinderAlloc, index: int) -> None:
        if alloc.number not in self._releasing:
            self._open[alloc.number, index].spans.append(("lru", self._trace.now))

    def reused(self, alloc: BinderAlloc, index: int) -> None:
        self._open[alloc.number, index].spans.append(("active", self._trace.now))

    def reclaimed(self, alloc: BinderAlloc, index: int) -> None:
        life = self._open.pop((alloc.number, index))
        life.ended = "reclaimed"
        life.end_ns = self._trace.now
        self._done.append(life)

    def release_start(self, alloc: BinderAlloc) -> None:
        self._releasing.add(alloc.number)
        self.final[alloc.number] = (alloc.page_states(), alloc.pages_high)

    def released(self, alloc: BinderAlloc) -> None:
        self._releasing.discard(alloc.number)
        for key in [key for key in self._open if key[0] == alloc.number]:
            life = self._open.pop(key)
            life.ended = "released"
            life.end_ns = self._trace.now
            self._done.append(life)

    def lives(self) -> list[Life]:
        """Every life that the events so far can know of, by alloc, page and birth."""
        lives = [
            Life(life.alloc, life.page, life.birth_ns, tuple(life.spans), life.ended, life.end_ns)
            for life in (*self._done, *self._open.values())
            if life.birth_ns is not None
        ]
        return sorted(lives, key=lambda life: (life.alloc, life.page, life.birth_ns))

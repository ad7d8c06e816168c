"""Small random recordings that a kernel could have made, for Hypothesis: `recordings()`."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from binder_observe.events import LRU_SKIPS, EventBatch, Kind, from_rows
from binder_observe.history import History, collect
from tests.build import META, Row

OWNERS: Final = (100, 100, 101)  # of allocs 1, 2, 3: two belong to one process
CONTEXTS: Final = ("binder", "hwbinder", "binder")
TASKS: Final = ((100, 100), (200, 200), (200, 201), (300, 300), (301, 301))  # tgid, tid
NAMES: Final = {100: "system_server", 101: "app", 200: "app", 300: "kswapd0"}  # 301 has none
PAGES: Final = 3
FREE, ACTIVE, LRU = 0, 1, 2

_OPS: Final = (
    "step", "step", "step", "step", "step", "reclaim", "reclaim", "reclaim within install", "race", "fail", "fail",
    "lose", "lose of any", "snapshot", "snapshot", "high", "release", "skip",
)  # fmt: skip
_OP: Final = st.tuples(
    st.sampled_from(_OPS),
    st.integers(1, len(OWNERS)),
    st.integers(0, PAGES - 1),
    st.sampled_from(TASKS),
    st.sampled_from((1, 0, 7, 1_000, 700_000_000)),  # ns since the row before
)


class _Machine:
    """The true state of every page; emits what an observer would get."""

    def __init__(self, found: dict[int, list[int]]) -> None:
        self.found = found  # states of the pages of allocs from before attach
        self.pages: dict[int, list[int]] = {}
        self.released: set[int] = set()
        self.rows: list[Row] = []
        self.ts = 1_000
        self.hidden: int | None = None  # events that are being lost

    def emit(self, kind: Kind, alloc: int, page: int, tgid: int, tid: int, name: str | None = None) -> None:
        if self.hidden is None:
            self.rows.append((self.ts, kind, alloc, page, 0, tgid, tid, name))
            self.ts += 1
        else:
            self.hidden += 1

    def describe(self, alloc: int) -> None:
        if alloc not in self.pages:
            self.pages[alloc] = list(self.found.get(alloc, [FREE] * PAGES))
            kind = Kind.ALLOC if alloc in self.found else Kind.MMAP
            self.emit(kind, alloc, PAGES, OWNERS[alloc - 1], OWNERS[alloc - 1], CONTEXTS[alloc - 1])

    def step(self, alloc: int, page: int, tgid: int, tid: int) -> None:
        """What comes next for the page: install, park, reuse."""
        pages = self.pages[alloc]
        if pages[page] == FREE:
            self.emit(Kind.ALLOC_PAGE_START, alloc, page, tgid, tid)
            self.emit(Kind.ALLOC_PAGE_END, alloc, page, tgid, tid)
            pages[page] = ACTIVE
        elif pages[page] == ACTIVE:
            self.emit(Kind.FREE_LRU_START, alloc, page, tgid, tid)
            self.emit(Kind.FREE_LRU_END, alloc, page, tgid, tid)
            pages[page] = LRU
        else:
            self.emit(Kind.ALLOC_LRU_START, alloc, page, tgid, tid)
            pages[page] = ACTIVE

    def do(self, op: str, alloc: int, page: int, tgid: int, tid: int) -> None:
        self.describe(alloc)
        pages = self.pages[alloc]
        state = pages[page]
        if op == "reclaim" and state == LRU:
            self.emit(Kind.UNMAP_KERNEL_START, alloc, page, tgid, tid)
            pages[page] = FREE
        elif op == "reclaim within install" and state == LRU and FREE in pages:
            other = pages.index(FREE)
            self.emit(Kind.ALLOC_PAGE_START, alloc, other, tgid, tid)
            self.emit(Kind.UNMAP_KERNEL_START, alloc, page, tgid, tid)
            self.emit(Kind.ALLOC_PAGE_END, alloc, other, tgid, tid)
            pages[page], pages[other] = FREE, ACTIVE
        elif op == "race" and state == FREE:
            other_tgid, other_tid = TASKS[(TASKS.index((tgid, tid)) + 1) % len(TASKS)]
            self.emit(Kind.ALLOC_PAGE_START, alloc, page, tgid, tid)
            self.emit(Kind.ALLOC_PAGE_START, alloc, page, other_tgid, other_tid)
            self.emit(Kind.ALLOC_PAGE_END, alloc, page, other_tgid, other_tid)
            self.emit(Kind.ALLOC_PAGE_END, alloc, page, tgid, tid)
            pages[page] = ACTIVE
        elif op == "race" and state == ACTIVE:  # the loser begins after the winner is done
            self.emit(Kind.ALLOC_PAGE_START, alloc, page, tgid, tid)
            self.emit(Kind.ALLOC_PAGE_END, alloc, page, tgid, tid)
        elif op == "fail" and state == FREE:
            self.emit(Kind.ALLOC_PAGE_START, alloc, page, tgid, tid)
        elif op in ("lose", "lose of any"):
            self.hidden = 0
            for lost in range(PAGES):
                if (tid + lost + page) % 2:
                    self.step(alloc, lost, tgid, tid)
            n, self.hidden = self.hidden, None
            self.emit(Kind.LOST, alloc if op == "lose" else 0, n, 0, 0)
        elif op == "snapshot":
            self.emit(Kind(Kind.SNAPSHOT_FREE + state), alloc, page, tgid, tid)
        elif op == "skip" and state in (ACTIVE, LRU):  # who reuses a page may have said so already
            self.emit(LRU_SKIPS[(tid + page) % len(LRU_SKIPS)], alloc, page, tgid, tid)
        elif op == "high":
            self.emit(Kind.SNAPSHOT_HIGH, alloc, PAGES, tgid, tid)
        elif op == "release" and page == 0:  # rarer than the others
            self.emit(Kind.RELEASE_START, alloc, 0, tgid, tid)
            for held in range(PAGES):
                if pages[held] == ACTIVE and (tid + held) % 2:
                    self.emit(Kind.FREE_LRU_START, alloc, held, tgid, tid)
            self.emit(Kind.RELEASE_END, alloc, 0, tgid, tid)
            self.released.add(alloc)
        else:
            self.step(alloc, page, tgid, tid)


@st.composite
def recordings(draw: st.DrawFn, max_size: int = 40) -> EventBatch:
    """Events in order of time: up to three allocs, mapped under observation or found in any state, with installs,
    races, failures, parks, reuses, reclaims (inside an install, too), gaps, snapshots and releases."""
    states = st.lists(st.sampled_from((FREE, ACTIVE, LRU)), min_size=PAGES, max_size=PAGES)
    machine = _Machine(draw(st.dictionaries(st.integers(1, len(OWNERS)), states, max_size=2)))
    machine.emit(Kind.ATTACH, 0, 0, 0, 0)
    for pid in draw(st.lists(st.sampled_from(sorted(NAMES)), unique=True)):
        machine.emit(Kind.PROCESS, 0, 0, pid, pid, NAMES[pid])
    least = draw(st.sampled_from((0, max_size // 3, 2 * max_size // 3)))  # lists are short if left to themselves
    for op, alloc, page, (tgid, tid), wait in draw(st.lists(_OP, min_size=least, max_size=max_size)):
        if alloc not in machine.released:
            machine.ts += wait - 1  # rows of one time happen, too
            machine.do(op, alloc, page, tgid, tid)
    if draw(st.booleans()):
        machine.emit(Kind.DETACH, 0, 0, 0, 0)
    return from_rows(machine.rows)


def histories(max_size: int = 40) -> st.SearchStrategy[tuple[EventBatch, History]]:
    """Recordings with the history that is made of each."""
    return recordings(max_size).map(lambda events: (events, collect(META, [events])))

"""The page state machine: events in, finished lives and current state out.

One transition table (`TRANSITIONS`), one inner loop (`_run`). The table says what every event means in every state,
illegal pairs included: those are counted by (state, event), and the event is believed over our own idea, because it
comes from the kernel. Memory grows with the pages of live mappings, never with events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from binder_observe.errors import ObserveError
from binder_observe.events import COLUMNS, EventBatch, Kind
from binder_observe.lifetimes import LIFE, Began, Ended


class State(IntEnum):
    """The three states of binder_alloc_print_pages(), and pages of which nothing is known yet."""

    FREE = 0
    ACTIVE = 1
    LRU = 2
    UNKNOWN = 3


class Do(IntEnum):
    """What a (state, event) pair asks for."""

    NOTHING = 0
    ATTEMPT = 1  # somebody tries to install the page
    INSTALL = 2  # free -> active: a life begins
    DUPLICATE = 3  # the loser of a race also reports its install: no new life
    PARK = 4  # active -> lru
    REUSE = 5  # lru -> active
    RECLAIM = 6  # lru -> free: the life ends
    ADOPT = 7  # a snapshot tells the state of a page of which nothing was known
    UNEXPLAINED = 8  # the kernel cannot do this from here: count it, believe the event


# What each event proves about the page just before it and just after it.
_AFTER: Final[Mapping[Kind, State]] = {
    Kind.ALLOC_PAGE_START: State.FREE,
    Kind.ALLOC_PAGE_END: State.ACTIVE,
    Kind.ALLOC_LRU_START: State.ACTIVE,
    Kind.FREE_LRU_START: State.LRU,
    Kind.UNMAP_KERNEL_START: State.FREE,
    Kind.SNAPSHOT_FREE: State.FREE,
    Kind.SNAPSHOT_ACTIVE: State.ACTIVE,
    Kind.SNAPSHOT_LRU: State.LRU,
}

# Rows: events; columns: FREE, ACTIVE, LRU, UNKNOWN. Kinds without a row say nothing about a page's state.
#
# ALLOC_PAGE_START in ACTIVE: since 6.8 installers check and install outside the lock, so the loser of a race may
# announce its attempt after the winner is done (binder_install_buffer_pages(), drivers/android/binder_alloc.c).
# Snapshots are read while events flow, so a state known from events wins over them.
TRANSITIONS: Final[Mapping[Kind, tuple[Do, Do, Do, Do]]] = {
    Kind.ALLOC_PAGE_START: (Do.ATTEMPT, Do.ATTEMPT, Do.UNEXPLAINED, Do.ATTEMPT),
    Kind.ALLOC_PAGE_END: (Do.INSTALL, Do.DUPLICATE, Do.UNEXPLAINED, Do.INSTALL),
    Kind.ALLOC_LRU_START: (Do.UNEXPLAINED, Do.UNEXPLAINED, Do.REUSE, Do.REUSE),
    Kind.FREE_LRU_START: (Do.UNEXPLAINED, Do.PARK, Do.UNEXPLAINED, Do.PARK),
    Kind.UNMAP_KERNEL_START: (Do.UNEXPLAINED, Do.UNEXPLAINED, Do.RECLAIM, Do.RECLAIM),
    Kind.SNAPSHOT_FREE: (Do.NOTHING, Do.NOTHING, Do.NOTHING, Do.ADOPT),
    Kind.SNAPSHOT_ACTIVE: (Do.NOTHING, Do.NOTHING, Do.NOTHING, Do.ADOPT),
    Kind.SNAPSHOT_LRU: (Do.NOTHING, Do.NOTHING, Do.NOTHING, Do.ADOPT),
}

_KINDS: Final = 64
_TABLE: Final = np.zeros((_KINDS, len(State)), dtype=np.uint8)
_NEXT: Final = np.zeros(_KINDS, dtype=np.uint8)
for _kind, _row in TRANSITIONS.items():
    _TABLE[_kind] = _row
    _NEXT[_kind] = _AFTER[_kind]

PAGE: Final = np.dtype(
    [
        ("birth_ns", "<i8"),
        ("since_ns", "<i8"),  # when it entered its state
        ("active_ns", "<i8"),
        ("lru_ns", "<i8"),
        ("reuses", "<u4"),
        ("installer", "<u4"),
        ("state", "u1"),
        ("began", "u1"),  # for UNKNOWN pages: what a life found here will have begun as
    ],
    align=True,
)

ALLOC: Final = np.dtype(
    [
        ("base", "<i8"),  # first slot in the page table; -1: never described
        ("first_ns", "<i8"),
        ("last_ns", "<i8"),
        ("active_ns", "<i8"),  # page-time of finished spans
        ("lru_ns", "<i8"),
        ("count", "<i8", (len(State),)),  # pages by state; before release once released
        ("installs", "<i8"),
        ("duplicate_installs", "<i8"),
        ("failed_installs", "<i8"),
        ("in_flight", "<i8"),
        ("parks", "<i8"),
        ("teardown_parks", "<i8"),
        ("reuses", "<i8"),
        ("reclaims", "<i8"),
        ("lost", "<i8"),
        ("unexplained", "<i8"),
        ("pid", "<u4"),
        ("pages", "<u4"),
        ("high", "<u4"),
        ("releasing", "u1"),
        ("released", "u1"),
        ("from_birth", "u1"),  # its mapping was seen to be made
    ],
    align=True,
)

# An attempt to install that has no end yet. The task is in the kernel between the two, so few are open at a time.
_ATTEMPT: Final = np.dtype([("tid", "<u4"), ("alloc", "<u4"), ("ts_ns", "<i8")], align=True)
_ATTEMPTS: Final = 4096
IN_FLIGHT_NS: Final = 1_000_000_000  # an attempt open for longer than this at the end has failed

_BAD_PAGE: Final = len(State)  # row of `unexplained` for an event whose alloc or page index is unknown
_LIVES: Final = 1 << 16
# Beyond these a description is damage: the driver caps a mapping at 4 MiB, and numbers are given in order.
MAX_PAGES: Final = 1 << 16
MAX_ALLOCS: Final = 1 << 24



def _array(dtype: Any, ndim: int = 1, readonly: bool = False) -> Any:
    return types.Array(numba.from_dtype(np.dtype(dtype)), ndim, "C", readonly=readonly)


# Given once, so that the loop is compiled (or read from the cache) on import, before any probe is attached, and
# batches in read-only memory (a mapped recording) do not compile it a second time.
_SIGNATURE: Final = types.UniTuple(types.int64, 2)(
    *(_array(COLUMNS[c], readonly=True) for c in ("ts_ns", "kind", "alloc", "page", "tgid", "tid")),
    types.int64,
    _array(ALLOC),
    _array(PAGE),
    _array(_ATTEMPT),
    _array(np.int64),
    _array(np.int64, 2),
    _array(LIFE),
)


@numba.njit(cache=True, inline="always")
def _span(alloc, page, ts):  # type: ignore[no-untyped-def]  # compiled; the signature is _SIGNATURE's
    """Closes the span that `page` has been in since its last transition."""
    span = max(ts - page.since_ns, 0)  # clocks of two CPUs can differ by a little
    if page.state == State.ACTIVE:
        page.active_ns += span
        alloc.active_ns += span
    elif page.state == State.LRU:
        page.lru_ns += span
        alloc.lru_ns += span
    page.since_ns = ts


@numba.njit(cache=True, inline="always")
def _begin(page, ts, began, installer):  # type: ignore[no-untyped-def]
    page.birth_ns = ts
    page.since_ns = ts
    page.active_ns = 0
    page.lru_ns = 0
    page.reuses = 0
    page.installer = installer
    page.began = began


@numba.njit(cache=True, inline="always")
def _end(lives, n, number, index, alloc, page, ts, ended, ender):  # type: ignore[no-untyped-def]
    """Writes the life of an installed page as row `n`."""
    _span(alloc, page, ts)
    life = lives[n]
    life.alloc = number
    life.page = index
    life.began = page.began
    life.ended = ended
    life.birth_ns = page.birth_ns
    life.end_ns = max(ts, page.birth_ns)
    life.active_ns = page.active_ns
    life.lru_ns = page.lru_ns
    life.reuses = page.reuses
    life.installer = page.installer
    life.ender = ender


@numba.njit(cache=True)
def _forget(number, ts, allocs, pages, attempts, n_attempts, lives, n):  # type: ignore[no-untyped-def]
    """A gap in the events of one alloc: its lives end as LOST when they were last known, its pages are unknown."""
    alloc = allocs[number]
    for index in range(alloc.pages):
        page = pages[alloc.base + index]
        if page.state == State.ACTIVE or page.state == State.LRU:
            _end(lives, n, number, index, alloc, page, alloc.last_ns, Ended.LOST, 0)
            n += 1
        alloc.count[page.state] -= 1
        alloc.count[State.UNKNOWN] += 1
        page.state = State.UNKNOWN
        page.began = Began.AFTER_GAP
        page.birth_ns = ts
        page.since_ns = ts
    kept = 0
    for i in range(n_attempts[0]):
        if attempts[i].alloc != number:
            attempts[kept] = attempts[i]
            kept += 1
    n_attempts[0] = kept
    return n


@numba.njit(_SIGNATURE, cache=True)
def _run(ts_ns, kind, number, index, tgid, tid, i, allocs, pages, attempts, n_attempts, unexplained, lives):  # type: ignore[no-untyped-def]
    """Events from row `i` on; stops early when `lives` is nearly full.

    Returns (next row, rows of `lives` written).
    """
    n = 0
    room = len(lives) - 1
    while i < len(ts_ns):
        k = kind[i]
        a = number[i]
        ts = ts_ns[i]
        if k >= Kind.ALLOC:
            if k == Kind.LOST:
                first, last = (a, a + 1) if a else (1, len(allocs))
                need = 0
                for j in range(first, min(last, len(allocs))):
                    if allocs[j].base >= 0 and not allocs[j].released:
                        need += allocs[j].pages
                if n + need > room and n > 0:
                    return i, n
                for j in range(first, min(last, len(allocs))):
                    if allocs[j].base >= 0 and not allocs[j].released:
                        n = _forget(j, ts, allocs, pages, attempts, n_attempts, lives, n)
                        allocs[j].last_ns = ts
                if 0 < a < len(allocs):
                    allocs[a].lost += index[i]
            elif (k == Kind.ALLOC or k == Kind.MMAP) and 0 < a < len(allocs) and allocs[a].base >= 0:
                alloc = allocs[a]
                alloc.first_ns = ts
                alloc.last_ns = ts
                for j in range(alloc.pages):
                    pages[alloc.base + j].birth_ns = ts
                    pages[alloc.base + j].since_ns = ts
            i += 1
            continue
        if a >= len(allocs) or allocs[a].base < 0 or allocs[a].released:
            unexplained[_BAD_PAGE, k] += 1
            i += 1
            continue
        alloc = allocs[a]

        # An attempt ends with its task's next step in the allocator; reclaim is no such step, because the attempt's
        # own allocation may enter the shrinker.
        if n_attempts[0] and (k <= Kind.FREE_LRU_END):
            for j in range(n_attempts[0] - 1, -1, -1):
                if attempts[j].tid == tid[i]:
                    if not (k == Kind.ALLOC_PAGE_END and attempts[j].alloc == a):
                        allocs[attempts[j].alloc].failed_installs += 1
                    for m in range(j, n_attempts[0] - 1):
                        attempts[m] = attempts[m + 1]
                    n_attempts[0] -= 1
                    break

        if k == Kind.RELEASE_START:
            alloc.releasing = 1
        elif k == Kind.RELEASE_END:
            if n + alloc.pages > room and n > 0:
                return i, n
            for p in range(alloc.pages):
                page = pages[alloc.base + p]
                if page.state == State.ACTIVE or page.state == State.LRU:
                    _end(lives, n, a, p, alloc, page, ts, Ended.RELEASED, tgid[i])
                    n += 1
            kept = 0
            for j in range(n_attempts[0]):
                if attempts[j].alloc == a:
                    alloc.failed_installs += 1
                else:
                    attempts[kept] = attempts[j]
                    kept += 1
            n_attempts[0] = kept
            alloc.released = 1
        elif k == Kind.SNAPSHOT_HIGH:
            alloc.high = max(alloc.high, index[i])
        elif index[i] >= alloc.pages:
            unexplained[_BAD_PAGE, k] += 1
            alloc.unexplained += 1
        else:
            page = pages[alloc.base + index[i]]
            state = page.state
            do = _TABLE[k, state]
            after = np.uint8(_NEXT[k])
            if do == Do.NOTHING:
                after = state
            elif do == Do.PARK:
                if state == State.UNKNOWN:  # it has been active for as long as we look
                    _begin(page, page.birth_ns, page.began, 0)
                    page.state = State.ACTIVE
                if alloc.releasing:  # teardown, not life: the page counts as active until it is released
                    alloc.teardown_parks += 1
                    after = page.state
                else:
                    alloc.parks += 1
                    _span(alloc, page, ts)
            elif do == Do.REUSE:
                alloc.reuses += 1
                if state == State.UNKNOWN:
                    _begin(page, page.birth_ns, page.began, 0)
                    page.state = State.LRU
                _span(alloc, page, ts)
                page.reuses += 1
            elif do == Do.ATTEMPT:
                if state == State.ACTIVE:
                    after = state
                if n_attempts[0] == len(attempts):
                    allocs[attempts[0].alloc].failed_installs += 1
                    for m in range(n_attempts[0] - 1):
                        attempts[m] = attempts[m + 1]
                    n_attempts[0] -= 1
                attempt = attempts[n_attempts[0]]
                attempt.tid = tid[i]
                attempt.alloc = a
                attempt.ts_ns = ts
                n_attempts[0] += 1
            elif do == Do.INSTALL:
                alloc.installs += 1
                alloc.high = max(alloc.high, index[i] + 1)
                _begin(page, ts, Began.INSTALLED, tgid[i])
            elif do == Do.DUPLICATE:
                alloc.duplicate_installs += 1
            elif do == Do.RECLAIM:
                if n > room:
                    return i, n
                alloc.reclaims += 1
                if state == State.UNKNOWN:
                    _begin(page, page.birth_ns, page.began, 0)
                    page.state = State.LRU
                _end(lives, n, a, index[i], alloc, page, ts, Ended.RECLAIMED, tgid[i])
                n += 1
            elif do == Do.ADOPT:
                _begin(page, page.birth_ns, page.began, 0)
            else:
                if n > room:
                    return i, n
                unexplained[state, k] += 1
                alloc.unexplained += 1
                if state != after:
                    if state != State.FREE:
                        _end(lives, n, a, index[i], alloc, page, ts, Ended.LOST, 0)
                        n += 1
                    if after != State.FREE:
                        _begin(page, ts, Began.AFTER_GAP, 0)
                        alloc.high = max(alloc.high, index[i] + 1)
            if after != state:
                alloc.count[state] -= 1
                alloc.count[after] += 1
            page.state = after
        alloc.last_ns = ts
        i += 1
    return i, n


@dataclass(frozen=True, slots=True)
class AllocState:
    """What is known of one binder_alloc. Counts are of the whole observation, times in ns."""

    alloc: int
    pid: int
    comm: str | None
    context: str | None
    mapping_pages: int
    free: int  # pages by state at the end of the observation, or just before release
    active: int
    lru: int
    unknown: int
    high_watermark: int
    installs: int
    duplicate_installs: int
    failed_installs: int
    installs_in_flight: int
    parks: int
    teardown_parks: int
    reuses: int
    reclaims: int
    released: bool
    from_birth: bool  # its mapping was seen to be made, so no page is from before attach
    lost_events: int
    unexplained: int
    first_ns: int
    last_ns: int
    active_ns: int  # page-time, summed over pages
    lru_ns: int


class PageTracker:
    """Feeds batches to the state machine and keeps its tables. Raises ObserveError on impossible descriptions."""

    def __init__(self) -> None:
        self._allocs = np.zeros(64, dtype=ALLOC)
        self._allocs["base"] = -1
        self._pages = np.zeros(4096, dtype=PAGE)
        self._used = 0  # page slots handed out so far
        self._spare: dict[int, list[int]] = {}  # mapping size -> bases of released allocs
        self._described: list[int] = []  # allocs that hold slots
        self._attempts = np.zeros(_ATTEMPTS, dtype=_ATTEMPT)
        self._n_attempts = np.zeros(1, dtype=np.int64)
        self._unexplained = np.zeros((len(State) + 1, _KINDS), dtype=np.int64)
        self._lives = np.zeros(_LIVES, dtype=LIFE)
        self._contexts: dict[int, str] = {}
        self.comms: dict[int, str] = {}
        self.events = 0
        self.lost_events = 0
        self.attach_ns: int | None = None
        self.detach_ns: int | None = None
        self.last_ns: int | None = None

    def update(self, batch: EventBatch) -> NDArray[np.void]:
        """Takes the events in; returns the lives (dtype LIFE) that ended in them, in order of their ends."""
        if not len(batch):
            return self._lives[:0].copy()
        self._describe(batch)
        self.events += batch.kernel_events
        self.lost_events += batch.lost_events
        self.last_ns = max(int(batch.ts_ns.max()), self.last_ns or 0)
        if len(self._lives) <= len(self._pages):
            self._lives = np.zeros(len(self._pages) + _LIVES, dtype=LIFE)
        columns = [getattr(batch, c) for c in ("ts_ns", "kind", "alloc", "page", "tgid", "tid")]
        ended: list[NDArray[np.void]] = []
        row = 0
        while row < len(batch):
            row, n = _run(
                *columns, row, self._allocs, self._pages, self._attempts, self._n_attempts,
                self._unexplained, self._lives,
            )  # fmt: skip
            ended.append(self._lives[:n].copy())
        self._recycle()
        return ended[0] if len(ended) == 1 else np.concatenate(ended)

    def _describe(self, batch: EventBatch) -> None:
        """Makes room for the allocs that the batch introduces, before the loop meets them."""
        for row in np.flatnonzero(batch.kind >= Kind.ALLOC):
            kind = batch.kind[row]
            name = batch.names.get(int(row))
            if kind == Kind.ATTACH and self.attach_ns is None:
                self.attach_ns = int(batch.ts_ns[row])
            elif kind == Kind.DETACH:
                self.detach_ns = int(batch.ts_ns[row])
            elif kind == Kind.PROCESS and name is not None:
                self.comms[int(batch.tgid[row])] = name
            elif kind in (Kind.ALLOC, Kind.MMAP):
                self._introduce(
                    int(batch.alloc[row]), int(batch.page[row]), int(batch.tgid[row]), name, kind == Kind.MMAP
                )

    def _introduce(self, number: int, pages: int, pid: int, context: str | None, from_birth: bool) -> None:
        if not 0 < number <= MAX_ALLOCS or pages > MAX_PAGES:
            raise ObserveError(
                f"the event stream is damaged: it describes alloc {number} with {pages} pages; "
                f"record it again, or cut the file before that point"
            )
        if number >= len(self._allocs):
            grown = np.zeros(max(number + 1, 2 * len(self._allocs)), dtype=ALLOC)
            grown["base"] = -1
            grown[: len(self._allocs)] = self._allocs
            self._allocs = grown
        if self._allocs["base"][number] >= 0:
            return
        spare = self._spare.get(pages)
        if spare:
            base = spare.pop()
        else:
            base = self._used
            self._used += pages
            if self._used > len(self._pages):
                more = np.zeros(max(self._used, 2 * len(self._pages)), dtype=PAGE)
                more[: len(self._pages)] = self._pages
                self._pages = more
        state = State.FREE if from_birth else State.UNKNOWN
        slots = self._pages[base : base + pages]
        slots["state"] = state
        slots["began"] = Began.BEFORE_ATTACH
        alloc = self._allocs[number]
        alloc["base"], alloc["pages"], alloc["pid"], alloc["from_birth"] = base, pages, pid, from_birth
        alloc["count"][state] = pages
        if context is not None:
            self._contexts[number] = context
        self._described.append(number)

    def _recycle(self) -> None:
        """Gives the page slots of released allocs to later ones."""
        released = self._allocs["released"]
        if any(released[n] for n in self._described):
            for n in self._described:
                if released[n]:
                    self._spare.setdefault(int(self._allocs["pages"][n]), []).append(int(self._allocs["base"][n]))
            self._described = [n for n in self._described if not released[n]]

    @property
    def end_ns(self) -> int:
        """The end of the observation: DETACH, or the last event where it ended without one."""
        return self.detach_ns or self.last_ns or 0

    def alive(self) -> NDArray[np.void]:
        """Lives (dtype LIFE) that go on at `end_ns`, as ALIVE rows; changes nothing."""
        parts = [self._alive_of(n) for n in self._described]
        return np.concatenate(parts) if parts else self._lives[:0].copy()

    def _alive_of(self, number: int) -> NDArray[np.void]:
        alloc = self._allocs[number]
        slots = self._pages[int(alloc["base"]) : int(alloc["base"]) + int(alloc["pages"])]
        index = np.flatnonzero((slots["state"] == State.ACTIVE) | (slots["state"] == State.LRU))
        slots = slots[index]
        span = np.maximum(self.end_ns - slots["since_ns"], 0)
        lives = np.zeros(len(index), dtype=LIFE)
        lives["alloc"] = number
        lives["page"] = index
        lives["began"] = slots["began"]
        lives["ended"] = Ended.ALIVE
        lives["birth_ns"] = slots["birth_ns"]
        lives["end_ns"] = np.maximum(self.end_ns, slots["birth_ns"])
        lives["active_ns"] = slots["active_ns"] + np.where(slots["state"] == State.ACTIVE, span, 0)
        lives["lru_ns"] = slots["lru_ns"] + np.where(slots["state"] == State.LRU, span, 0)
        lives["reuses"] = slots["reuses"]
        lives["installer"] = slots["installer"]
        return lives

    def allocs(self) -> Iterator[AllocState]:
        """Every alloc that was described, by number, with the spans that go on counted up to `end_ns`."""
        end = self.end_ns
        attempts = self._attempts[: int(self._n_attempts[0])]
        for number in np.flatnonzero(self._allocs["base"] >= 0):
            row = self._allocs[number]
            active_ns, lru_ns = int(row["active_ns"]), int(row["lru_ns"])
            if not row["released"]:
                slots = self._pages[int(row["base"]) : int(row["base"]) + int(row["pages"])]
                span = np.maximum(end - slots["since_ns"], 0)
                active_ns += int(span[slots["state"] == State.ACTIVE].sum())
                lru_ns += int(span[slots["state"] == State.LRU].sum())
            open_since = attempts["ts_ns"][attempts["alloc"] == number]
            in_flight = int(np.count_nonzero(end - open_since <= IN_FLIGHT_NS))
            pid = int(row["pid"])
            yield AllocState(
                alloc=int(number),
                pid=pid,
                comm=self.comms.get(pid),
                context=self._contexts.get(int(number)),
                mapping_pages=int(row["pages"]),
                free=int(row["count"][State.FREE]),
                active=int(row["count"][State.ACTIVE]),
                lru=int(row["count"][State.LRU]),
                unknown=int(row["count"][State.UNKNOWN]),
                high_watermark=int(row["high"]),
                installs=int(row["installs"]),
                duplicate_installs=int(row["duplicate_installs"]),
                failed_installs=int(row["failed_installs"]) + len(open_since) - in_flight,
                installs_in_flight=in_flight,
                parks=int(row["parks"]),
                teardown_parks=int(row["teardown_parks"]),
                reuses=int(row["reuses"]),
                reclaims=int(row["reclaims"]),
                released=bool(row["released"]),
                from_birth=bool(row["from_birth"]),
                lost_events=int(row["lost"]),
                unexplained=int(row["unexplained"]),
                first_ns=int(row["first_ns"]),
                last_ns=int(row["last_ns"]),
                active_ns=active_ns,
                lru_ns=lru_ns,
            )

    def page_states(self, number: int) -> NDArray[np.uint8]:
        """The state of each page of a live alloc, shape (mapping_pages,)."""
        row = self._allocs[number]
        return self._pages["state"][int(row["base"]) : int(row["base"]) + int(row["pages"])].copy()

    def unexplained(self) -> dict[str, int]:
        """How often each illegal pair was met, by name: "LRU+ALLOC_PAGE_END", "unknown page+FREE_LRU_START"..."""
        names = [s.name for s in State] + ["unknown page"]
        return {
            f"{names[s]}+{Kind(k).name if k in iter(Kind) else k}": int(self._unexplained[s, k])
            for s, k in zip(*np.nonzero(self._unexplained), strict=True)
        }

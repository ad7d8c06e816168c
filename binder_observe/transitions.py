"""The page state machine: what every event means in every state.

One transition table (`TRANSITIONS`), one inner loop (`_run`). The table says what every event means in every state,
illegal pairs included: those are counted by (state, event), and the event is believed over our own idea, because it
comes from the kernel. Memory grows with the pages of live mappings, never with events.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import numba
import numpy as np
from numba import types

from binder_observe.events import COLUMNS, Kind


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

KINDS: Final = 64
_TABLE: Final = np.zeros((KINDS, len(State)), dtype=np.uint8)
_NEXT: Final = np.zeros(KINDS, dtype=np.uint8)
for _kind, _row in TRANSITIONS.items():
    _TABLE[_kind] = _row
    _NEXT[_kind] = _AFTER[_kind]


class Began(IntEnum):
    """How a life came under observation; all but INSTALLED are left-truncated (the true birth is unknown)."""

    INSTALLED = 0
    BEFORE_ATTACH = 1
    AFTER_GAP = 2


class Ended(IntEnum):
    """How a life ended; ALIVE and LOST are censored (it lasted at least that long)."""

    RECLAIMED = 0
    RELEASED = 1
    ALIVE = 2
    LOST = 3


LIFE: Final = np.dtype(
    [
        ("alloc", "<u4"),
        ("page", "<u4"),
        ("began", "u1"),  # Began
        ("ended", "u1"),  # Ended
        ("birth_ns", "<i8"),  # install; for left-truncated lives the first moment it was under observation
        ("end_ns", "<i8"),
        ("active_ns", "<i8"),  # time in use, within the observation
        ("lru_ns", "<i8"),  # time parked on the LRU, within the observation
        ("reuses", "<u4"),
        ("installer", "<u4"),  # tgid that installed it: the sender; 0 when unknown
        ("ender", "<u4"),  # tgid that reclaimed or released it; 0 when it did not end
    ]
)

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
ATTEMPT: Final = np.dtype([("tid", "<u4"), ("alloc", "<u4"), ("ts_ns", "<i8")], align=True)
IN_FLIGHT_NS: Final = 1_000_000_000  # an attempt open for longer than this at the end has failed

BAD_PAGE: Final = len(State)  # row of `unexplained` for an event whose alloc or page index is unknown


def _array(dtype: Any, ndim: int = 1, readonly: bool = False) -> Any:
    return types.Array(numba.from_dtype(np.dtype(dtype)), ndim, "C", readonly=readonly)


# Given once, so that the loop is compiled (or read from the cache) on import, before any probe is attached, and
# batches in read-only memory (a mapped recording) do not compile it a second time.
_SIGNATURE: Final = types.UniTuple(types.int64, 2)(  # type: ignore[no-untyped-call]
    *(_array(COLUMNS[c], readonly=True) for c in ("ts_ns", "kind", "alloc", "page", "tgid", "tid")),
    types.int64,
    _array(ALLOC),
    _array(PAGE),
    _array(ATTEMPT),
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
def run(ts_ns, kind, number, index, tgid, tid, i, allocs, pages, attempts, n_attempts, unexplained, lives):  # type: ignore[no-untyped-def]
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
            unexplained[BAD_PAGE, k] += 1
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
            unexplained[BAD_PAGE, k] += 1
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
            if state == State.UNKNOWN and do != Do.ATTEMPT and k != Kind.SNAPSHOT_FREE:
                alloc.high = max(alloc.high, index[i] + 1)  # it has been installed at some time
            page.state = after
        alloc.last_ns = ts
        i += 1
    return i, n

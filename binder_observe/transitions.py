"""The page state machine: what every event means in every state.

One transition table (`TRANSITIONS`), one inner loop (`run`). The table says what every event means in every state,
illegal pairs included: those are counted by (state, event), and the event is believed over our own idea, because it
comes from the kernel. Memory grows with the pages of live mappings, never with events.

Three kinds of rows come out: lives (LIFE), the spans that each page spends in one state (SPAN; those of a page cover
its observation without a hole), and attempts to install a page (INSTALL).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import numba
import numpy as np
from numba import types

from binder_observe.events import COLUMNS, LRU_SKIPS, Kind
from binder_observe.rows import INSTALL, LIFE, SPAN, Began, Ended, Outcome, State


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
_PROVES: Final[Mapping[Kind, tuple[State, State]]] = {
    Kind.ALLOC_PAGE_START: (State.FREE, State.FREE),
    Kind.ALLOC_PAGE_END: (State.FREE, State.ACTIVE),
    Kind.ALLOC_LRU_START: (State.LRU, State.ACTIVE),
    Kind.FREE_LRU_START: (State.ACTIVE, State.LRU),
    Kind.UNMAP_KERNEL_START: (State.LRU, State.FREE),
    Kind.SNAPSHOT_FREE: (State.FREE, State.FREE),
    Kind.SNAPSHOT_ACTIVE: (State.ACTIVE, State.ACTIVE),
    Kind.SNAPSHOT_LRU: (State.LRU, State.LRU),
}

# Rows: events; columns: FREE, ACTIVE, LRU, UNKNOWN. Kinds without a row say nothing about a page's state.
#
# LRU_SKIP_* have none, and are counted by alloc: a page that is skipped stays what it is, and it need not be LRU by our
# own idea, because whoever reuses it emits ALLOC_LRU_START before it is off the list.
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
_FIRST_SKIP: Final = int(LRU_SKIPS[0])
_LAST_SKIP: Final = int(LRU_SKIPS[-1])
_TABLE: Final = np.zeros((KINDS, len(State)), dtype=np.uint8)
_BEFORE: Final = np.zeros(KINDS, dtype=np.uint8)
_AFTER: Final = np.zeros(KINDS, dtype=np.uint8)
for _kind, _row in TRANSITIONS.items():
    _TABLE[_kind] = _row
    _BEFORE[_kind], _AFTER[_kind] = _PROVES[_kind]


PAGE: Final = np.dtype(
    [
        ("birth_ns", "<i8"),  # of an UNKNOWN page: since when no event of it was missed
        ("since_ns", "<i8"),  # when it entered its state
        ("active_ns", "<i8"),
        ("lru_ns", "<i8"),
        ("reuses", "<u4"),
        ("installer", "<u4"),
        ("starter", "<u4"),  # tgid that put it into its state
        ("state", "u1"),
        ("began", "u1"),  # for UNKNOWN pages: what a life found here will have begun as
        ("entered", "u1"),  # Kind of the event that put it into its state
        ("touched", "u1"),  # it has been installed at some time
    ],
    align=True,
)

ALLOC: Final = np.dtype(
    [
        ("base", "<i8"),  # first slot in the page table
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
        ("refaults", "<i8"),  # installs of a page that the shrinker had taken
        ("lru_skips", "<i8", (len(LRU_SKIPS),)),  # by reason
        ("touched", "<i8"),  # distinct pages that were installed at some time
        ("lost", "<i8"),
        ("unexplained", "<i8"),
        ("number", "<u4"),
        ("pid", "<u4"),
        ("pages", "<u4"),
        ("high", "<u4"),
        ("releasing", "u1"),
        ("released", "u1"),
        ("described", "u1"),  # the loop has met its description
        ("from_birth", "u1"),  # its mapping was seen to be made
    ],
    align=True,
)

# Where an alloc's number leads to no row of the table of allocs.
NEVER: Final = (1 << 32) - 1  # it was not described
GONE: Final = NEVER - 1  # it is released

# An attempt to install that has no end yet. The task is in the kernel between the two, so few are open at a time.
ATTEMPT: Final = np.dtype(
    [("tid", "<u4"), ("tgid", "<u4"), ("alloc", "<u4"), ("page", "<u4"), ("ts_ns", "<i8")], align=True
)
IN_FLIGHT_NS: Final = 1_000_000_000  # an attempt open for longer than this at the end has failed

BAD_PAGE: Final = len(State)  # row of `unexplained` for an event whose alloc or page index is unknown


def _array(dtype: Any, ndim: int = 1, readonly: bool = False) -> Any:
    return types.Array(numba.from_dtype(np.dtype(dtype)), ndim, "C", readonly=readonly)


# Given once, so that the loop is compiled (or read from the cache) on import, before any probe is attached, and
# batches in read-only memory (a mapped recording) do not compile it a second time.
_SIGNATURE: Final = types.UniTuple(types.int64, 4)(  # type: ignore[no-untyped-call]
    *(_array(COLUMNS[c], readonly=True) for c in ("ts_ns", "kind", "alloc", "page", "tgid", "tid")),
    types.int64,
    _array(np.uint32),
    _array(ALLOC),
    _array(PAGE),
    _array(ATTEMPT),
    _array(np.int64),
    _array(np.int64, 2),
    _array(LIFE),
    _array(SPAN),
    _array(INSTALL),
    _array(np.int64),
    _array(np.int64, 2),
)


@numba.njit(cache=True, inline="always")
def _account(alloc, page, ts):  # type: ignore[no-untyped-def]  # compiled; the signature is _SIGNATURE's
    """Adds the time that `page` has been in its state to its own and its alloc's."""
    time = max(ts - page.since_ns, 0)  # clocks of two CPUs can differ by a little
    if page.state == State.ACTIVE:
        page.active_ns += time
        alloc.active_ns += time
    elif page.state == State.LRU:
        page.lru_ns += time
        alloc.lru_ns += time
    page.since_ns = max(ts, page.since_ns)


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
    """Writes the life of an installed page as row `n`; returns the next row."""
    _account(alloc, page, ts)
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
    return n + 1


@numba.njit(cache=True, inline="always")
def _leave(spans, n, number, index, page, ts, ended, ender):  # type: ignore[no-untyped-def]
    """Writes the span that `page` ends at `ts` as row `n`, if anybody wants spans; returns the next row."""
    if len(spans) == 0:
        return n
    span = spans[n]
    span.alloc = number
    span.page = index
    span.state = page.state
    span.began = page.entered
    span.ended = ended
    span.since_ns = page.since_ns
    span.until_ns = max(ts, page.since_ns)
    span.starter = page.starter
    span.ender = ender
    return n + 1


@numba.njit(cache=True, inline="always")
def _attempted(installs, n, number, index, outcome, start, ts, tgid, tid):  # type: ignore[no-untyped-def]
    """Writes what became of an attempt as row `n`, if anybody wants that; returns the next row."""
    if len(installs) == 0:
        return n
    install = installs[n]
    install.alloc = number
    install.page = index
    install.outcome = outcome
    install.start_ns = start
    install.end_ns = max(ts, start)
    install.tgid = tgid
    install.tid = tid
    return n + 1


@numba.njit(cache=True, inline="always")
def _failed(installs, n, attempt, ts, rows, allocs):  # type: ignore[no-untyped-def]
    allocs[rows[attempt.alloc]].failed_installs += 1
    return _attempted(
        installs, n, attempt.alloc, attempt.page, Outcome.FAILED, attempt.ts_ns, ts, attempt.tgid, attempt.tid
    )


@numba.njit(cache=True, inline="always")
def _remove(attempts, n_attempts, j):  # type: ignore[no-untyped-def]
    for m in range(j, n_attempts[0] - 1):
        attempts[m] = attempts[m + 1]
    n_attempts[0] -= 1


@numba.njit(cache=True)
def _forget(alloc, ts, pages, attempts, n_attempts, lives, n_lives, spans, n_spans):  # type: ignore[no-untyped-def]
    """A gap in the events of one alloc: its lives end as LOST when they were last known, its pages are unknown."""
    number = alloc.number
    for index in range(alloc.pages):
        page = pages[alloc.base + index]
        if page.state != State.UNKNOWN:
            n_spans = _leave(spans, n_spans, number, index, page, alloc.last_ns, Kind.LOST, 0)
            if page.state == State.FREE:
                page.since_ns = max(alloc.last_ns, page.since_ns)
            else:
                n_lives = _end(lives, n_lives, number, index, alloc, page, alloc.last_ns, Ended.LOST, 0)
            alloc.count[page.state] -= 1
            alloc.count[State.UNKNOWN] += 1
            page.state = State.UNKNOWN
            page.entered = Kind.LOST
            page.starter = 0
        page.began = Began.AFTER_GAP
        page.birth_ns = ts
    for j in range(n_attempts[0] - 1, -1, -1):
        if attempts[j].alloc == number:
            _remove(attempts, n_attempts, j)
    alloc.last_ns = ts
    return n_lives, n_spans


@numba.njit(types.void(_array(ALLOC), _array(np.int64)), cache=True)
def look(allocs, found):  # type: ignore[no-untyped-def]
    """Pages of live mappings, and those of them that are known to be installed, into `found`."""
    found[:] = 0
    for j in range(len(allocs)):
        alloc = allocs[j]
        if alloc.described and not alloc.released:
            found[0] += alloc.pages
            found[1] += alloc.count[State.ACTIVE] + alloc.count[State.LRU]


@numba.njit(_SIGNATURE, cache=True, nogil=True)
def run(  # type: ignore[no-untyped-def]
    ts_ns, kind, number, index, tgid, tid, i, rows, allocs, pages, attempts, n_attempts, unexplained, lives, spans,
    installs, looks, found
):  # fmt: skip
    """Events from row `i` on; stops early when `lives`, `spans` or `installs`, which take the results, is nearly full.

    `rows` leads from an alloc's number to its row of `allocs`, or is NEVER or GONE: rows of released allocs are used
    again, numbers are not.
    `spans` and `installs` may be empty arrays: then none are written.
    `looks` are ascending rows, before each of which is `look`ed: what was there then is a row of `found`.
    Returns (next row, rows of `lives`, rows of `spans`, rows of `installs` written).
    """
    n_lives = n_spans = n_installs = 0
    # at most this many rows come from one event of a page; what ends many pages at once asks for more below
    room_lives = len(lives) - 1
    room_spans = len(spans) - 2 if len(spans) else 2
    room_installs = len(installs) - 2 if len(installs) else 2
    at = np.searchsorted(looks, i)
    while True:
        if at < len(looks) and looks[at] == i:
            look(allocs, found[at])
            at += 1
        if i == len(ts_ns) or n_lives > room_lives or n_spans > room_spans or n_installs > room_installs:
            break
        k = kind[i]
        a = number[i]
        ts = ts_ns[i]
        if k >= Kind.ALLOC:
            if k == Kind.LOST:
                # of alloc 0: of any
                row = rows[a] if a < len(rows) else np.uint32(NEVER)
                first, last = (0, len(allocs)) if a == 0 else (row, row + 1) if row < len(allocs) else (0, 0)
                need = 0
                for j in range(first, last):
                    if allocs[j].described and not allocs[j].released:
                        need += allocs[j].pages
                if (n_lives and n_lives + need > len(lives)) or (n_spans and n_spans + need > len(spans)):
                    break
                for j in range(first, last):
                    if allocs[j].described and not allocs[j].released:
                        n_lives, n_spans = _forget(
                            allocs[j], ts, pages, attempts, n_attempts, lives, n_lives, spans, n_spans
                        )
                if a and row < len(allocs):
                    allocs[row].lost += index[i]
            elif (k == Kind.ALLOC or k == Kind.MMAP) and a < len(rows) and rows[a] < len(allocs):
                alloc = allocs[rows[a]]
                if alloc.described:
                    i += 1
                    continue
                alloc.described = 1
                alloc.first_ns = ts
                alloc.last_ns = ts
                for j in range(alloc.pages):
                    page = pages[alloc.base + j]
                    page.birth_ns = ts
                    page.since_ns = ts
                    page.entered = k
            i += 1
            continue
        row = rows[a] if a < len(rows) else np.uint32(NEVER)
        if row >= len(allocs):
            unexplained[BAD_PAGE, k] += 1
            i += 1
            continue
        alloc = allocs[row]

        # An attempt ends with its task's next step in the allocator; reclaim is no such step, because the attempt's
        # own allocation may enter the shrinker.
        started = -1
        if n_attempts[0] and k <= Kind.FREE_LRU_END:
            for j in range(n_attempts[0] - 1, -1, -1):
                if attempts[j].tid == tid[i]:
                    if k == Kind.ALLOC_PAGE_END and attempts[j].alloc == a and attempts[j].page == index[i]:
                        started = attempts[j].ts_ns
                    else:
                        n_installs = _failed(installs, n_installs, attempts[j], ts, rows, allocs)
                    _remove(attempts, n_attempts, j)
                    break

        if k == Kind.RELEASE_START:
            alloc.releasing = 1
        elif k == Kind.RELEASE_END:
            if (
                (n_lives and n_lives + alloc.pages > len(lives))
                or (n_spans and n_spans + alloc.pages > len(spans))
                or (n_installs and n_installs + n_attempts[0] > len(installs))
            ):
                break
            for p in range(alloc.pages):
                page = pages[alloc.base + p]
                n_spans = _leave(spans, n_spans, a, p, page, ts, k, tgid[i])
                if page.state == State.ACTIVE or page.state == State.LRU:
                    n_lives = _end(lives, n_lives, a, p, alloc, page, ts, Ended.RELEASED, tgid[i])
            for j in range(n_attempts[0] - 1, -1, -1):
                if attempts[j].alloc == a:
                    n_installs = _failed(installs, n_installs, attempts[j], ts, rows, allocs)
                    _remove(attempts, n_attempts, j)
            alloc.released = 1
            rows[a] = GONE
        elif k == Kind.SNAPSHOT_HIGH:
            alloc.high = max(alloc.high, index[i])
        elif index[i] >= alloc.pages:
            unexplained[BAD_PAGE, k] += 1
            alloc.unexplained += 1
        elif _FIRST_SKIP <= k <= _LAST_SKIP:
            alloc.lru_skips[k - _FIRST_SKIP] += 1
        else:
            page = pages[alloc.base + index[i]]
            state = page.state
            do = _TABLE[k, state]
            if state == State.UNKNOWN and do != Do.NOTHING:
                # the event also tells what the page has been for as long as none of its events was missed
                if page.birth_ns > page.since_ns:
                    n_spans = _leave(spans, n_spans, a, index[i], page, page.birth_ns, Kind.LOST, 0)
                    page.entered = Kind.LOST
                _begin(page, page.birth_ns, page.began, 0)
                page.state = _BEFORE[k]
            if do == Do.DUPLICATE and started < 0 and page.entered == Kind.SNAPSHOT_ACTIVE:
                # begun before anybody looked, and read from the kernel when it was all but done: its life begins now
                do = np.uint8(Do.INSTALL)
                page.state = State.FREE
            was = page.state
            after = np.uint8(_AFTER[k])
            if (
                do == Do.NOTHING
                or (do == Do.ATTEMPT and state == State.ACTIVE)
                or (do == Do.PARK and alloc.releasing)  # teardown, not life: the page counts as active until released
            ):
                after = was
            entered = page.entered
            if after != was:
                proof, by = k, tgid[i]
                if do == Do.UNEXPLAINED:  # whatever changed its state was missed
                    proof, by = np.uint8(Kind.LOST), np.uint32(0)
                n_spans = _leave(spans, n_spans, a, index[i], page, ts, proof, by)
                page.entered = proof
                page.starter = by

            if do == Do.PARK:
                if alloc.releasing:
                    alloc.teardown_parks += 1
                else:
                    alloc.parks += 1
                    _account(alloc, page, ts)
            elif do == Do.REUSE:
                alloc.reuses += 1
                _account(alloc, page, ts)
                page.reuses += 1
            elif do == Do.ATTEMPT:
                if n_attempts[0] == len(attempts):
                    n_installs = _failed(installs, n_installs, attempts[0], ts, rows, allocs)
                    _remove(attempts, n_attempts, 0)
                attempt = attempts[n_attempts[0]]
                attempt.tid = tid[i]
                attempt.tgid = tgid[i]
                attempt.alloc = a
                attempt.page = index[i]
                attempt.ts_ns = ts
                n_attempts[0] += 1
            elif do == Do.INSTALL:
                alloc.installs += 1
                if entered == Kind.UNMAP_KERNEL_START:
                    alloc.refaults += 1
                _begin(page, ts, Began.INSTALLED, tgid[i])
            elif do == Do.DUPLICATE:
                alloc.duplicate_installs += 1
            elif do == Do.RECLAIM:
                alloc.reclaims += 1
                n_lives = _end(lives, n_lives, a, index[i], alloc, page, ts, Ended.RECLAIMED, tgid[i])
            elif do == Do.ADOPT:
                page.entered = k
            elif do == Do.UNEXPLAINED:
                unexplained[state, k] += 1
                alloc.unexplained += 1
                if was != after:
                    if was != State.FREE:
                        n_lives = _end(lives, n_lives, a, index[i], alloc, page, ts, Ended.LOST, 0)
                    if after != State.FREE:
                        _begin(page, ts, Began.AFTER_GAP, 0)
            if do == Do.INSTALL or do == Do.DUPLICATE:
                outcome = Outcome.DUPLICATE if do == Do.DUPLICATE else Outcome.INSTALLED
                n_installs = _attempted(installs, n_installs, a, index[i], outcome, started, ts, tgid[i], tid[i])
            if after != state:
                alloc.count[state] -= 1
                alloc.count[after] += 1
            if not page.touched and (State.ACTIVE <= was <= State.LRU or State.ACTIVE <= after <= State.LRU):
                page.touched = 1
                alloc.touched += 1
                alloc.high = max(alloc.high, index[i] + 1)
            page.state = after
        alloc.last_ns = ts
        i += 1
    return i, n_lives, n_spans, n_installs

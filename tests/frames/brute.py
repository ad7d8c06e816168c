"""What a recording says of every page, worked out one page at a time in plain Python, without the tracker.

An event of a page proves what the page was just before and just after it; what it was before holds since the
alloc was described or since the last gap, whichever is later. Nothing else is known. Only for recordings of legal
events in order of time (`tests.frames.recordings`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from binder_observe.events import EventBatch, Kind

IN_FLIGHT_NS = 1_000_000_000

# before, after; a snapshot proves the same for both
_PROVES = {
    Kind.ALLOC_PAGE_START: ("free", "free"),
    Kind.ALLOC_PAGE_END: ("free", "active"),
    Kind.ALLOC_LRU_START: ("lru", "active"),
    Kind.FREE_LRU_START: ("active", "lru"),
    Kind.UNMAP_KERNEL_START: ("lru", "free"),
    Kind.SNAPSHOT_FREE: ("free", "free"),
    Kind.SNAPSHOT_ACTIVE: ("active", "active"),
    Kind.SNAPSHOT_LRU: ("lru", "lru"),
}
_SNAPSHOTS = (Kind.SNAPSHOT_FREE, Kind.SNAPSHOT_ACTIVE, Kind.SNAPSHOT_LRU)


@dataclass(slots=True)
class Span:
    """A page in one state from `since_ns` to `until_ns`; `began` and `ended` are names of Kinds, tasks are None where
    unknown."""

    alloc: int
    page: int
    state: str  # active, lru, free, unknown
    since_ns: int
    until_ns: int
    began: str
    ended: str
    starter: int | None
    ender: int | None


@dataclass(slots=True)
class Life:
    """From install, or from when the page was first known to be there, to its end; times within the observation."""

    alloc: int
    page: int
    began: str  # installed, before_attach, after_gap
    ended: str  # reclaimed, released, alive, lost
    observed_ns: int
    end_ns: int
    active_ns: int
    lru_ns: int
    reuses: int
    sender: int | None
    ender: int | None


@dataclass(slots=True)
class Attempt:
    """An attempt to install; one that a gap of its alloc cut short has none."""

    alloc: int
    page: int
    outcome: str  # installed, duplicate, failed, in_flight
    start_ns: int | None
    end_ns: int
    tgid: int
    tid: int


@dataclass(slots=True)
class Mapping:
    alloc: int
    pid: int
    context: str | None
    pages: int
    first_ns: int
    from_birth: bool
    lost: int = 0
    released_ns: int | None = None
    kinds: Counter[Kind] = field(default_factory=Counter)
    high: int = 0
    teardown_parks: int = 0


@dataclass(slots=True)
class Replay:
    """Spans and lives by alloc, page and time; attempts in the order in which they ended."""

    begin_ns: int
    end_ns: int
    comms: dict[int, str]
    mappings: dict[int, Mapping]
    spans: list[Span]
    lives: list[Life]
    attempts: list[Attempt]


_Row = tuple[int, Kind, int, int, int, int]  # ts, kind, alloc, page, tgid, tid


def replay(events: EventBatch) -> Replay:
    rows = [(ts, kind, alloc, page, tgid, tid) for ts, kind, alloc, page, _, tgid, tid, _ in events.rows()]
    names = [name for *_, name in events.rows()]
    comms = {row[4]: name for row, name in zip(rows, names, strict=True) if row[1] == Kind.PROCESS and name is not None}
    ends = [row[0] for row in rows if row[1] == Kind.DETACH] or [row[0] for row in rows[-1:]] or [0]
    done = Replay(rows[0][0] if rows else 0, ends[0], comms, {}, [], [], [])
    for (ts, kind, alloc, page, tgid, _), name in zip(rows, names, strict=True):
        if kind in (Kind.ALLOC, Kind.MMAP):
            done.mappings[alloc] = Mapping(alloc, tgid, name, page, ts, kind == Kind.MMAP)
    for mapping in done.mappings.values():
        begin = next(i for i, row in enumerate(rows) if row[2] == mapping.alloc)
        own = [row for row in rows[begin:] if row[2] == mapping.alloc or (row[2] == 0 and row[1] == Kind.LOST)]
        _count(mapping, own)
        for page in range(mapping.pages):
            done.spans += _spans(mapping, page, own, done.end_ns)
    done.lives = _lives(done)
    done.attempts = _attempts(rows, done.end_ns)
    return done


def _count(mapping: Mapping, own: list[_Row]) -> None:
    releasing = False
    for ts, kind, alloc, page, _, _ in own:
        if mapping.released_ns is not None:
            return
        mapping.kinds[kind] += 1
        releasing |= kind == Kind.RELEASE_START
        if kind == Kind.FREE_LRU_START and releasing:
            mapping.teardown_parks += 1
        if kind == Kind.LOST and alloc:
            mapping.lost += page
        elif kind == Kind.SNAPSHOT_HIGH:
            mapping.high = max(mapping.high, page)
        elif kind == Kind.RELEASE_END:
            mapping.released_ns = ts


def _spans(mapping: Mapping, page: int, own: list[_Row], end_ns: int) -> list[Span]:
    """Window by window: what no gap interrupts."""
    windows: list[tuple[int, int | None, list[_Row]]] = []  # begin, last known before the gap, events
    begin, last, inside = mapping.first_ns, mapping.first_ns, list[_Row]()
    for row in own:
        if row[1] == Kind.LOST:
            windows.append((begin, last, inside))
            begin, inside = row[0], []
        else:
            inside.append(row)
        last = row[0]
        if row[1] == Kind.RELEASE_END:
            break
    windows.append((begin, None, inside))

    spans: list[Span] = []

    def add(state: str, since: int, began: str, starter: int | None) -> None:
        spans.append(Span(mapping.alloc, page, state, since, since, began, "", starter, None))

    for n, (begin, last_known, inside) in enumerate(windows):
        if n == 0:
            began = "mmap" if mapping.from_birth else "alloc"
            add("free" if mapping.from_birth else "unknown", begin, began, None)
        releasing = False
        for ts, kind, _, index, tgid, _ in inside:
            releasing |= kind == Kind.RELEASE_START
            if kind not in _PROVES or index != page:
                continue
            before, after = _PROVES[kind]
            now = spans[-1]
            if now.state == "unknown":
                now.until_ns, now.ended = begin, "lost"
                began = "lost" if n else "alloc"
                add(before, begin, kind.name.lower() if kind in _SNAPSHOTS else began, None)
                now = spans[-1]
            elif kind in _SNAPSHOTS or kind == Kind.ALLOC_PAGE_START or (
                kind == Kind.ALLOC_PAGE_END and now.state == "active"
            ):  # fmt: skip
                continue
            assert now.state == before
            if after != before and not (kind == Kind.FREE_LRU_START and releasing):
                now.until_ns, now.ended, now.ender = ts, kind.name.lower(), tgid
                add(after, ts, kind.name.lower(), tgid)
        if last_known is not None and spans[-1].state != "unknown":
            spans[-1].until_ns, spans[-1].ended = last_known, "lost"
            add("unknown", last_known, "lost", None)
    if mapping.released_ns is not None:
        releaser = next(row[4] for row in own if row[1] == Kind.RELEASE_END)
        spans[-1].until_ns, spans[-1].ended, spans[-1].ender = mapping.released_ns, "release_end", releaser
    else:
        spans[-1].until_ns, spans[-1].ended = end_ns, "detach"
    # a page that its first event told of was never unknown
    return [s for s in spans if s is spans[-1] or s.state != "unknown" or s.until_ns > s.since_ns]


_LIFE_ENDS = {"unmap_kernel_start": "reclaimed", "release_end": "released", "detach": "alive", "lost": "lost"}


def _lives(done: Replay) -> list[Life]:
    """A life is what lies between two spans that hold no page, or a gap."""
    lives: list[Life] = []
    life: Life | None = None
    for span in done.spans:
        if span.state not in ("active", "lru"):
            continue
        if life is None:
            began = "installed" if span.began == "alloc_page_end" else "before_attach"
            mapping = done.mappings[span.alloc]
            if began == "before_attach" and (mapping.from_birth or span.since_ns > mapping.first_ns):
                began = "after_gap"
            life = Life(span.alloc, span.page, began, "", span.since_ns, 0, 0, 0, 0, span.starter, None)
            lives.append(life)
        life.reuses += span.ended == "alloc_lru_start"
        if span.state == "active":
            life.active_ns += span.until_ns - span.since_ns
        else:
            life.lru_ns += span.until_ns - span.since_ns
        if span.ended in _LIFE_ENDS:
            life.ended, life.end_ns, life.ender = _LIFE_ENDS[span.ended], span.until_ns, span.ender
            life = None
    return lives


def _attempts(rows: list[_Row], end_ns: int) -> list[Attempt]:
    """An attempt ends with its task's next step in the allocator: its own ALLOC_PAGE_END, or it has failed."""
    done: list[Attempt] = []
    still: dict[int, Attempt] = {}  # by tid
    seen: dict[tuple[int, int], bool] = {}  # (alloc, page) is known to be active

    def fail(tid: int, ts: int) -> None:
        attempt = still.pop(tid)
        attempt.outcome, attempt.end_ns = "failed", ts
        done.append(attempt)

    for ts, kind, alloc, page, tgid, tid in rows:
        if kind == Kind.LOST:
            still = {t: a for t, a in still.items() if alloc not in (0, a.alloc)}
            seen = {key: active for key, active in seen.items() if alloc not in (0, key[0])}
        elif kind == Kind.ALLOC_PAGE_END:
            start = None
            if tid in still and (still[tid].alloc, still[tid].page) == (alloc, page):
                start = still.pop(tid).start_ns
            elif tid in still:
                fail(tid, ts)
            outcome = "duplicate" if seen.get((alloc, page)) else "installed"
            done.append(Attempt(alloc, page, outcome, start, ts, tgid, tid))
        elif kind <= Kind.FREE_LRU_END:
            if tid in still:
                fail(tid, ts)
            if kind == Kind.ALLOC_PAGE_START:
                still[tid] = Attempt(alloc, page, "", ts, ts, tgid, tid)
        elif kind == Kind.RELEASE_END:
            for t in [t for t, a in still.items() if a.alloc == alloc]:
                fail(t, ts)
        if kind in (Kind.ALLOC_PAGE_END, Kind.ALLOC_LRU_START):
            seen[alloc, page] = True
        elif kind in (Kind.FREE_LRU_START, Kind.UNMAP_KERNEL_START):
            seen[alloc, page] = False
        elif kind in _SNAPSHOTS:
            seen.setdefault((alloc, page), kind == Kind.SNAPSHOT_ACTIVE)
    for attempt in still.values():
        attempt.outcome = "failed" if end_ns - attempt.start_ns > IN_FLIGHT_NS else "in_flight"  # type: ignore[operator]
        attempt.end_ns = end_ns
        done.append(attempt)
    return done

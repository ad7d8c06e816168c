"""Keeps the tables of the page state machine and feeds it: events in, finished lives and current state out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch, Kind
from binder_observe.rows import INSTALL, LIFE, SPAN, Began, Ended, Outcome, State
from binder_observe.transitions import ALLOC, ATTEMPT, IN_FLIGHT_NS, KINDS, PAGE, run

_ATTEMPTS: Final = 4096
_ROWS: Final = 1 << 16
# Beyond these a description is damage: the driver caps a mapping at 4 MiB, and numbers are given in order.
MAX_PAGES: Final = 1 << 16
MAX_ALLOCS: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class LruSkips:
    """How often the shrinker's callback gave a page up (LRU_SKIP), by what was in its way (docs/probes.md)."""

    alloc_lock: int = 0
    mmap_lock: int = 0
    mm_gone: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        return self.alloc_lock + self.mmap_lock + self.mm_gone + self.other

    def __add__(self, more: LruSkips) -> LruSkips:
        return LruSkips(
            self.alloc_lock + more.alloc_lock,
            self.mmap_lock + more.mmap_lock,
            self.mm_gone + more.mm_gone,
            self.other + more.other,
        )


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
    refaults: int  # installs of a page that the shrinker had taken
    lru_skips: LruSkips  # all 0 where they are not observed, see Meta.observes_skips
    touched: int  # distinct pages that were installed at some time
    released: bool
    from_birth: bool  # its mapping was seen to be made, so no page is from before attach
    lost_events: int
    unexplained: int
    first_ns: int
    last_ns: int
    until_ns: int  # its release, or the end of the observation
    active_ns: int  # page-time, summed over pages
    lru_ns: int


@dataclass(frozen=True, slots=True)
class Finished:
    """What came to its end: lives (dtype LIFE) in order of their ends, spans of pages in one state (SPAN) and attempts
    to install a page (INSTALL)."""

    lives: NDArray[np.void]
    spans: NDArray[np.void]
    installs: NDArray[np.void]


class PageTracker:
    """Memory grows with the pages of live mappings. Raises ObserveError on an impossible description.

    With `spans` False neither spans nor attempts are written down, which is faster.
    """

    def __init__(self, *, spans: bool = True) -> None:
        self._with_spans = spans
        self._allocs = np.zeros(64, dtype=ALLOC)
        self._allocs["base"] = -1
        self._pages = np.zeros(4096, dtype=PAGE)
        self._used = 0  # page slots handed out so far
        self._spare: dict[int, list[int]] = {}  # mapping size -> bases of released allocs
        self._described: list[int] = []  # allocs that hold slots
        self._attempts = np.zeros(_ATTEMPTS, dtype=ATTEMPT)
        self._n_attempts = np.zeros(1, dtype=np.int64)
        self._unexplained = np.zeros((len(State) + 1, KINDS), dtype=np.int64)
        self._lives = np.zeros(0, dtype=LIFE)
        self._spans = np.zeros(0, dtype=SPAN)
        self._installs = np.zeros(_ROWS if spans else 0, dtype=INSTALL)
        self._contexts: dict[int, str] = {}
        self.comms: dict[int, str] = {}
        self.events = 0
        self.lost_events = 0
        self.attach_ns: int | None = None
        self.detach_ns: int | None = None
        self.last_ns: int | None = None

    def update(self, batch: EventBatch) -> Finished:
        """Takes the events in; returns the rows that came to their end in them."""
        done: list[Finished] = []
        row = 0
        if len(batch):
            self._describe(batch)
            self.events += batch.kernel_events
            self.lost_events += batch.lost_events
            self.last_ns = max(int(batch.ts_ns.max()), self.last_ns or 0)
            if len(self._lives) <= len(self._pages):  # one event, a release or a gap, can end what every page is in
                self._lives = np.zeros(len(self._pages) + _ROWS, dtype=LIFE)
                if self._with_spans:
                    self._spans = np.zeros(len(self._pages) + _ROWS, dtype=SPAN)
        columns = [getattr(batch, c) for c in ("ts_ns", "kind", "alloc", "page", "tgid", "tid")]
        while row < len(batch):
            row, lives, spans, installs = run(  # type: ignore[call-arg]  # compiled
                *columns, row, self._allocs, self._pages, self._attempts, self._n_attempts,
                self._unexplained, self._lives, self._spans, self._installs,
            )  # fmt: skip
            done.append(
                Finished(self._lives[:lives].copy(), self._spans[:spans].copy(), self._installs[:installs].copy())
            )
        self._recycle()
        if len(done) == 1:
            return done[0]
        return Finished(
            np.concatenate([np.zeros(0, dtype=LIFE), *(d.lives for d in done)]),
            np.concatenate([np.zeros(0, dtype=SPAN), *(d.spans for d in done)]),
            np.concatenate([np.zeros(0, dtype=INSTALL), *(d.installs for d in done)]),
        )

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
        slots["starter"] = slots["touched"] = 0
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
        return np.concatenate([np.zeros(0, dtype=LIFE), *parts])

    def _alive_of(self, number: int) -> NDArray[np.void]:
        slots = self._slots(number)
        index = np.flatnonzero((slots["state"] == State.ACTIVE) | (slots["state"] == State.LRU))
        slots = slots[index]
        span = np.maximum(self.end_ns - slots["since_ns"], 0)
        lives = np.zeros(len(index), dtype=LIFE)
        lives["alloc"] = number
        lives["page"] = index
        lives["ended"] = Ended.ALIVE
        lives["end_ns"] = np.maximum(self.end_ns, slots["birth_ns"])
        lives["active_ns"] = slots["active_ns"] + np.where(slots["state"] == State.ACTIVE, span, 0)
        lives["lru_ns"] = slots["lru_ns"] + np.where(slots["state"] == State.LRU, span, 0)
        for column in ("began", "birth_ns", "reuses", "installer"):
            lives[column] = slots[column]
        return lives

    def open_spans(self) -> NDArray[np.void]:
        """What each page of a live mapping is in at `end_ns` (dtype SPAN, ended by DETACH); changes nothing."""
        parts = [np.zeros(0, dtype=SPAN)]
        for number in self._described:
            slots = self._slots(number)
            spans = np.zeros(len(slots), dtype=SPAN)
            spans["alloc"] = number
            spans["page"] = np.arange(len(slots))
            spans["began"] = slots["entered"]
            spans["ended"] = Kind.DETACH
            spans["until_ns"] = np.maximum(self.end_ns, slots["since_ns"])
            for column in ("state", "since_ns", "starter"):
                spans[column] = slots[column]
            parts.append(spans)
        return np.concatenate(parts)

    def open_installs(self) -> NDArray[np.void]:
        """Attempts without an end (dtype INSTALL): in flight, or failed when they are old; changes nothing."""
        attempts = self._attempts[: int(self._n_attempts[0])]
        rows = np.zeros(len(attempts), dtype=INSTALL)
        for column in ("alloc", "page", "tgid", "tid"):
            rows[column] = attempts[column]
        rows["start_ns"] = attempts["ts_ns"]
        rows["end_ns"] = np.maximum(self.end_ns, attempts["ts_ns"])
        old = self.end_ns - attempts["ts_ns"] > IN_FLIGHT_NS
        rows["outcome"] = np.where(old, Outcome.FAILED, Outcome.IN_FLIGHT)
        return rows

    def _slots(self, number: int) -> NDArray[np.void]:
        """The pages of a live alloc (dtype PAGE), shape (mapping_pages,)."""
        row = self._allocs[number]
        return self._pages[int(row["base"]) : int(row["base"]) + int(row["pages"])]

    def allocs(self) -> Iterator[AllocState]:
        """Every alloc that was described, by number, with the spans that go on counted up to `end_ns`."""
        end = self.end_ns
        attempts = self._attempts[: int(self._n_attempts[0])]
        for number in np.flatnonzero(self._allocs["base"] >= 0):
            row = self._allocs[number]
            active_ns, lru_ns = int(row["active_ns"]), int(row["lru_ns"])
            if not row["released"]:
                slots = self._slots(int(number))
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
                refaults=int(row["refaults"]),
                lru_skips=LruSkips(*row["lru_skips"].tolist()),
                touched=int(row["touched"]),
                released=bool(row["released"]),
                from_birth=bool(row["from_birth"]),
                lost_events=int(row["lost"]),
                unexplained=int(row["unexplained"]),
                first_ns=int(row["first_ns"]),
                last_ns=int(row["last_ns"]),
                until_ns=int(row["last_ns"]) if row["released"] else max(end, int(row["first_ns"])),
                active_ns=active_ns,
                lru_ns=lru_ns,
            )

    def mapped_and_installed(self) -> tuple[int, int]:
        """Pages of live mappings, and those of them that are known to be installed."""
        live = self._allocs[self._described]
        return int(live["pages"].sum()), int(live["count"][:, (State.ACTIVE, State.LRU)].sum())

    def page_states(self, number: int) -> NDArray[np.uint8]:
        """The state of each page of a live alloc, shape (mapping_pages,)."""
        return self._slots(number)["state"].copy()

    def unexplained(self) -> dict[str, int]:
        """How often each illegal pair was met, by name: "LRU+ALLOC_PAGE_END", "unknown page+FREE_LRU_START"..."""
        names = [s.name for s in State] + ["unknown page"]
        return {
            f"{names[s]}+{Kind(k).name if k in iter(Kind) else k}": int(self._unexplained[s, k])
            for s, k in zip(*np.nonzero(self._unexplained), strict=True)
        }

"""Keeps the tables of the page state machine and feeds it: events in, finished lives and current state out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe import open_rows
from binder_observe.alloc_state import AllocState, GoesOn, LruSkips, alloc_states
from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch, Kind
from binder_observe.rows import INSTALL, LIFE, SPAN, Began, Outcome, State, joined
from binder_observe.transitions import ALLOC, ATTEMPT, IN_FLIGHT_NS, KINDS, NEVER, PAGE, look, run

__all__ = ["AllocState", "Finished", "LruSkips", "PageTracker"]

_ATTEMPTS: Final = 4096
_ROWS: Final = 1 << 16
_NO_LOOKS: Final = np.zeros(0, dtype=np.int64)
_NOTHING_FOUND: Final = np.zeros((0, 2), dtype=np.int64)
# Beyond these a description is damage: the driver caps a mapping at 4 MiB, and numbers are given in order.
MAX_PAGES: Final = 1 << 16
MAX_ALLOCS: Final = 1 << 24
# Tasks whose names are kept: those that were named last. A few megabytes, and more than live at a time on any machine
# that runs binder; a live source names a task again when it is seen again.
MAX_COMMS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Finished:
    """What came to its end: lives (dtype LIFE) in order of their ends, spans of pages in one state (SPAN), attempts
    to install a page (INSTALL), and allocs that were released, in that order."""

    lives: NDArray[np.void]
    spans: NDArray[np.void]
    installs: NDArray[np.void]
    allocs: tuple[AllocState, ...] = ()


class PageTracker:
    """Memory grows with the pages of live mappings, and by 4 bytes for each number that an alloc ever had. Raises
    ObserveError on an impossible description.

    With `spans` False neither spans nor attempts are written down, which is faster.
    """

    def __init__(self, *, spans: bool = True) -> None:
        self._with_spans = spans
        self._rows = np.full(64, NEVER, dtype=np.uint32)  # by number: row of the next, NEVER or GONE
        self._allocs = np.zeros(64, dtype=ALLOC)
        self._spare_rows = list(range(len(self._allocs)))
        self._pages = np.zeros(4096, dtype=PAGE)
        self._used = 0  # page slots handed out so far
        self._spare: dict[int, list[int]] = {}  # mapping size -> bases of released allocs
        self._live: dict[int, int] = {}  # number -> row, as described
        self._contexts: dict[int, str] = {}  # by number, of live allocs
        self._owner_comms: dict[int, str] = {}  # likewise
        self._of_pid: dict[int, set[int]] = {}  # live allocs by owner
        self._attempts = np.zeros(_ATTEMPTS, dtype=ATTEMPT)
        self._n_attempts = np.zeros(1, dtype=np.int64)
        self._unexplained = np.zeros((len(State) + 1, KINDS), dtype=np.int64)
        self._lives = np.zeros(0, dtype=LIFE)
        self._spans = np.zeros(0, dtype=SPAN)
        self._installs = np.zeros(_ROWS if spans else 0, dtype=INSTALL)
        self.comms: dict[int, str] = {}
        self.events = 0
        self.lost_events = 0
        self.attach_ns: int | None = None
        self.detach_ns: int | None = None
        self.last_ns: int | None = None

    def update(
        self, batch: EventBatch, looks: NDArray[np.int64] = _NO_LOOKS, found: NDArray[np.int64] = _NOTHING_FOUND
    ) -> Finished:
        """Takes the events in; returns the rows that came to their end in them.

        `looks` are ascending row numbers, up to that of the row after the last; row k of `found`, shape (looks, 2), is
        what `mapped_and_installed()` says before row `looks[k]`.
        """
        done: list[tuple[NDArray[np.void], NDArray[np.void], NDArray[np.void]]] = []
        ended: dict[int, str | None] = {}
        row = 0
        if len(batch):
            ended = self._describe(batch)
            self.events += batch.kernel_events
            self.lost_events += batch.lost_events
            self.last_ns = max(int(batch.ts_ns.max()), self.last_ns or 0)
            if len(self._lives) <= len(self._pages):  # one event, a release or a gap, can end what every page is in
                self._lives = np.zeros(len(self._pages) + _ROWS, dtype=LIFE)
                if self._with_spans:
                    self._spans = np.zeros(len(self._pages) + _ROWS, dtype=SPAN)
        columns = [getattr(batch, c) for c in ("ts_ns", "kind", "alloc", "page", "tgid", "tid")]
        while not done or row < len(batch):
            row, lives, spans, installs = run(  # type: ignore[call-arg]  # compiled
                *columns, row, self._rows, self._allocs, self._pages, self._attempts, self._n_attempts,
                self._unexplained, self._lives, self._spans, self._installs, looks, found,
            )  # fmt: skip
            full = self._lives[:lives], self._spans[:spans], self._installs[:installs]
            if row < len(batch):  # the next turn writes over them
                full = joined([full[0]]), joined([full[1]]), joined([full[2]])
            done.append(full)
        released = self._recycle(ended)
        lives_of, spans_of, installs_of = zip(*done, strict=True)
        return Finished(joined(lives_of), joined(spans_of), joined(installs_of), released)

    def _describe(self, batch: EventBatch) -> dict[int, str | None]:
        """Makes room for the allocs that the batch introduces, before the loop meets them. Returns those that it
        releases, each with its owner's name then: a later process may have the pid, and another name."""
        ended: dict[int, str | None] = {}
        rows = np.flatnonzero((batch.kind >= int(Kind.ALLOC)) | (batch.kind == int(Kind.RELEASE_END)))
        columns = (getattr(batch, c)[rows].tolist() for c in ("ts_ns", "kind", "alloc", "page", "tgid"))
        for row, ts_ns, kind, number, page, tgid in zip(rows.tolist(), *columns, strict=True):
            name = batch.names.get(row)
            if kind == Kind.RELEASE_END:
                ended[number] = self._owner_comms.get(number)
            elif kind == Kind.ATTACH and self.attach_ns is None:
                self.attach_ns = ts_ns
            elif kind == Kind.DETACH:
                self.detach_ns = ts_ns
            elif kind == Kind.PROCESS and name is not None:
                self._name(tgid, number, name)
            elif kind in (Kind.ALLOC, Kind.MMAP):
                self._introduce(number, page, tgid, name, kind == Kind.MMAP)
        return ended

    def _name(self, tgid: int, owned: int, name: str) -> None:
        """What the owner of one alloc is called says nothing of others with that pid: theirs may be a process that had
        it before, and whose allocs are still to be released."""
        self.comms.pop(tgid, None)  # to the end of the order
        self.comms[tgid] = name
        if len(self.comms) > MAX_COMMS:
            self.comms = dict(list(self.comms.items())[MAX_COMMS // 4 :])
        for number in (owned,) if owned else self._of_pid.get(tgid, ()):
            self._owner_comms[number] = name

    def _introduce(self, number: int, pages: int, pid: int, context: str | None, from_birth: bool) -> None:
        if not 0 < number <= MAX_ALLOCS or pages > MAX_PAGES:
            raise ObserveError(
                f"the event stream is damaged: it describes alloc {number} with {pages} pages; "
                f"record it again, or cut the file before that point"
            )
        if number >= len(self._rows):
            grown = np.full(max(number + 1, 2 * len(self._rows)), NEVER, dtype=np.uint32)
            grown[: len(self._rows)] = self._rows
            self._rows = grown
        if self._rows[number] != NEVER:
            return
        if not self._spare_rows:
            self._spare_rows = list(range(len(self._allocs), 2 * len(self._allocs)))
            self._allocs = np.concatenate([self._allocs, np.zeros(len(self._allocs), dtype=ALLOC)])
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
        row = self._rows[number] = self._live[number] = self._spare_rows.pop()
        self._allocs[row] = np.zeros((), dtype=ALLOC)
        alloc = self._allocs[row]
        alloc["number"], alloc["base"], alloc["pages"], alloc["pid"] = number, base, pages, pid
        alloc["from_birth"] = from_birth
        alloc["count"][state] = pages
        if context is not None:
            self._contexts[number] = context
        if pid in self.comms:
            self._owner_comms.setdefault(number, self.comms[pid])
        self._of_pid.setdefault(pid, set()).add(number)

    def _recycle(self, ended: dict[int, str | None]) -> tuple[AllocState, ...]:
        """Gives the rows and page slots of released allocs to later ones; returns how those were."""
        known = [(number, comm) for number, comm in ended.items() if number in self._live]
        if not known:
            return ()
        states = tuple(self._states(known))
        for s in states:
            row = self._live.pop(s.alloc)
            self._spare.setdefault(s.mapping_pages, []).append(int(self._allocs["base"][row]))
            self._contexts.pop(s.alloc, None)
            self._owner_comms.pop(s.alloc, None)
            self._of_pid[s.pid].discard(s.alloc)
            if not self._of_pid[s.pid]:
                del self._of_pid[s.pid]
            self._spare_rows.append(row)
        return states

    @property
    def end_ns(self) -> int:
        """The end of the observation: DETACH, or the last event where it ended without one."""
        return self.detach_ns or self.last_ns or 0

    def alive(self) -> NDArray[np.void]:
        """Lives (dtype LIFE) that go on at `end_ns`, as ALIVE rows; changes nothing."""
        return open_rows.open_lives(self._live_rows(), self._allocs, self._pages, self.end_ns)

    def open_spans(self, *, untouched: bool = True) -> NDArray[np.void]:
        """What each page of a live mapping is in at `end_ns` (dtype SPAN, ended by DETACH); changes nothing.

        Without `untouched` those of pages that are free, or unknown, and that the shrinker did not take are left out.
        """
        return open_rows.open_spans(self._live_rows(), self._allocs, self._pages, self.end_ns, untouched)

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

    def allocs(self) -> Iterator[AllocState]:
        """Every live alloc, by number, with the spans that go on counted up to `end_ns`."""
        return self._states([(number, self._owner_comms.get(number)) for number in sorted(self._live)])

    def _states(self, wanted: list[tuple[int, str | None]]) -> Iterator[AllocState]:
        """Of live allocs, by number and comm."""
        rows = np.array([self._live[number] for number, _ in wanted], dtype=np.int64)
        attempts = self._attempts[: int(self._n_attempts[0])]
        old = self.end_ns - attempts["ts_ns"] > IN_FLIGHT_NS
        active_ns, lru_ns = open_rows.page_time(rows, self._allocs, self._pages, self.end_ns)
        goes_on = GoesOn(
            active_ns, lru_ns, self.end_ns,
            Counter(attempts["alloc"][~old].tolist()), Counter(attempts["alloc"][old].tolist()),
        )  # fmt: skip
        names = [(comm, self._contexts.get(number)) for number, comm in wanted]
        return alloc_states(self._allocs[rows], names, goes_on)

    @property
    def live_allocs(self) -> int:
        return len(self._live)

    def _live_rows(self) -> NDArray[np.int64]:
        return np.fromiter(self._live.values(), dtype=np.int64, count=len(self._live))

    def mapped_and_installed(self) -> tuple[int, int]:
        """Pages of live mappings, and those of them that are known to be installed."""
        found = np.zeros(2, dtype=np.int64)
        look(self._allocs, found)
        return int(found[0]), int(found[1])

    def page_states(self, number: int) -> NDArray[np.uint8]:
        """The state of each page of a live alloc, shape (mapping_pages,)."""
        row = self._allocs[self._live[number]]
        return self._pages["state"][int(row["base"]) : int(row["base"]) + int(row["pages"])].copy()

    def unexplained(self) -> dict[str, int]:
        """How often each illegal pair was met, by name: "LRU+ALLOC_PAGE_END", "unknown page+FREE_LRU_START"..."""
        names = [s.name for s in State] + ["unknown page"]
        return {
            f"{names[s]}+{Kind(k).name if k in iter(Kind) else k}": int(self._unexplained[s, k])
            for s, k in zip(*np.nonzero(self._unexplained), strict=True)
        }

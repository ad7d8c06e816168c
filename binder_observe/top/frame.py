"""What one screen shows: immutable data, made of a report and the frame before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from binder_observe.analysis.report import ProcessReport, Report

HISTORY_POINTS: Final = 240  # of each mapping
GONE_NS: Final = 60_000_000_000  # the history of a mapping outlives it by so long
_NS: Final = 1e9


@dataclass(frozen=True, slots=True)
class Rates:
    """Events per second of observed time, over the last interval."""

    installs: float
    reuses: float
    reclaims: float


@dataclass(frozen=True, slots=True)
class Point:
    """Pages of one mapping at one time."""

    ts_ns: int
    active: int
    lru: int


@dataclass(frozen=True, slots=True)
class Row:
    """One mapping.

    `rates` is None until two looks at it are some time apart; `idle_page_s` is the time that its pages spent on the
    LRU, up to `Frame.now_ns`; `pages` is the `rows.State` of each page, empty once it is gone; `history` ascends in
    time.
    """

    process: ProcessReport
    rates: Rates | None
    idle_page_s: float
    pages: bytes
    history: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything at one time. `rows` are in the report's order, without those that are folded; `begin_ns` is the first
    look's time."""

    report: Report
    now_ns: int
    begin_ns: int
    rows: tuple[Row, ...]

    def live(self) -> Iterator[Row]:
        """Mappings that are not released."""
        return (row for row in self.rows if not row.process.state.released)

    def row(self, alloc: int | None) -> Row | None:
        return next((row for row in self.rows if row.process.state.alloc == alloc), None)


def advance(before: Frame | None, report: Report, pages: Mapping[int, bytes], now_ns: int) -> Frame:
    """The frame after `before`.

    `pages` are the states of each live mapping's pages by alloc; `now_ns` is the time that was observed up to, which
    may be later than the last event (CLOCK_BOOTTIME). A frame of the same moment keeps the rates of the one before.
    """
    known = {row.process.state.alloc: row for row in before.rows} if before else {}
    now_ns = max(now_ns, before.now_ns if before else 0)
    passed_ns = now_ns - before.now_ns if before else 0
    rows = tuple(
        _row(process, known.get(process.state.alloc), pages.get(process.state.alloc, b""), now_ns, passed_ns)
        for process in report.processes
        if not process.folded
    )
    return Frame(report, now_ns, before.begin_ns if before else now_ns, rows)


def _row(process: ProcessReport, before: Row | None, pages: bytes, now_ns: int, passed_ns: int) -> Row:
    s = process.state
    history = before.history if before else ()
    if s.released:
        rates: Rates | None = Rates(0.0, 0.0, 0.0)
        if now_ns - s.last_ns > GONE_NS:
            history = ()
    else:
        rates = _rates(process, before, passed_ns)
        point = Point(now_ns, s.active, s.lru)
        earlier = history[:-1] if history and history[-1].ts_ns == now_ns else history
        history = (*earlier[1 - HISTORY_POINTS :], point)
    return Row(process, rates, _idle_page_s(process, now_ns), pages, history)


def _rates(process: ProcessReport, before: Row | None, passed_ns: int) -> Rates | None:
    if passed_ns <= 0:
        return before.rates if before else None
    now = process.state
    was = before.process.state if before else None  # one that was not there has done everything since
    return Rates(
        (now.installs - (was.installs if was else 0)) * _NS / passed_ns,
        (now.reuses - (was.reuses if was else 0)) * _NS / passed_ns,
        (now.reclaims - (was.reclaims if was else 0)) * _NS / passed_ns,
    )


def _idle_page_s(process: ProcessReport, now_ns: int) -> float:
    """The report counts up to the last event; what idles then goes on idling until there is another."""
    s = process.state
    since_ns = 0 if s.released else max(now_ns - s.until_ns, 0)
    return (s.lru_ns + s.lru * since_ns) / _NS

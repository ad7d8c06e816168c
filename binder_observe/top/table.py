"""The table of mappings: its columns, their order, and which rows are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from binder_observe.analysis.names import printable
from binder_observe.analysis.report import Sender
from binder_observe.top.frame import Frame, Row
from binder_observe.top.text import fit, number


@dataclass(frozen=True, slots=True)
class Column:
    """`short` is the title where there is little room, `least` the cells it takes there; texts take up to `most`."""

    name: str
    title: str
    short: str
    meaning: str
    cell: Callable[[Row], str]
    value: Callable[[Row], Any]
    least: int = 5
    most: int = 0

    @property
    def is_text(self) -> bool:
        return self.most > 0

    def cells(self, short: bool, rows: Sequence[Row]) -> int:
        """How wide it is at least."""
        if self.name == "pid":
            return max(self.least, *(len(self.cell(row)) for row in rows), 0)
        return self.least if short else max(self.least, len(self.title))


def _rate(name: str) -> tuple[Callable[[Row], str], Callable[[Row], Any]]:
    def value(row: Row) -> float | None:
        return getattr(row.rates, name) if row.rates else None

    def rank(row: Row) -> float:
        rate = value(row)
        return -1.0 if rate is None else rate

    return lambda row: number(value(row)), rank


def top_sender(row: Row) -> str:
    """Who holds most page-time in it; `-` when nobody was seen to install anything."""
    return sender_name(row.process.senders[0]) if row.process.senders else "-"


def sender_name(sender: Sender) -> str:
    return printable(sender.comm) if sender.comm else str(sender.pid)


def _pages(name: str, title: str, short: str, meaning: str) -> Column:
    def value(row: Row) -> int:
        return getattr(row.process.state, name)  # type: ignore[no-any-return]

    return Column(name, title, short, meaning, lambda row: str(value(row)), value, 4)


COLUMNS: Final = (
    Column("pid", "PID", "PID", "the process that owns the mapping",
           lambda row: str(row.process.state.pid), lambda row: row.process.state.pid),
    Column("comm", "COMM", "COMM", "its name",
           lambda row: printable(row.process.state.comm), lambda row: printable(row.process.state.comm).lower(), 11, 16),
    Column("context", "CONTEXT", "CONTEXT", "the binder device",
           lambda row: printable(row.process.state.context) + " (gone)" * row.process.state.released,
           lambda row: printable(row.process.state.context), 7, 16),
    _pages("active", "ACTIVE", "ACT", "pages in use"),
    _pages("lru", "LRU", "LRU", "pages idle on the LRU, which the shrinker may take"),
    _pages("free", "FREE", "FREE", "page slots of the mapping without a page"),
    Column("installs", "INSTALL/s", "INS/s", "pages installed per second, over the last interval", *_rate("installs")),
    Column("reuses", "REUSE/s", "REU/s", "pages taken from the LRU into use again", *_rate("reuses")),
    Column("reclaims", "RECLAIM/s", "REC/s", "pages that the shrinker took", *_rate("reclaims")),
    Column("idle", "IDLE PAGE-S", "IDLEs", "page-seconds on the LRU since the start",
           lambda row: number(row.idle_page_s), lambda row: row.idle_page_s),
    Column("sender", "TOP SENDER", "SENDER", "whose transactions hold most page-time in it",
           top_sender, lambda row: top_sender(row).lower(), 7, 16),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """How the table is looked at. `sort` is a column, None the report's order: most pages held first."""

    sort: int | None = None
    reverse: bool = False
    pattern: str = ""
    gone: bool = False  # released mappings, too

    def turned(self, step: int) -> Self:
        """Sorted by the next column in that direction, in its natural order."""
        at = (0 if step > 0 else -1) if self.sort is None else self.sort + step
        return replace(self, sort=at % len(COLUMNS), reverse=False)

    @property
    def descending(self) -> bool:
        """Numbers begin with the largest, texts and PIDs with the first."""
        if self.sort is None:
            return not self.reverse
        return (COLUMNS[self.sort].is_text or COLUMNS[self.sort].name == "pid") == self.reverse


def arrange(frame: Frame, view: View) -> tuple[Row, ...]:
    """The rows that the view shows, in its order; rows that compare equal stay by PID, so that they do not dance."""
    words = view.pattern.lower().split()
    rows = [row for row in (frame.rows if view.gone else frame.live()) if all(_has(row, word) for word in words)]
    if view.sort is None:
        return tuple(reversed(rows) if view.reverse else rows)
    rows.sort(key=lambda row: (row.process.state.pid, row.process.state.alloc))
    rows.sort(key=COLUMNS[view.sort].value, reverse=view.descending)
    return tuple(rows)


def _has(row: Row, word: str) -> bool:
    """A filter's word is part of a name or of a context, or begins a PID."""
    s = row.process.state
    names = (printable(s.comm) + "\n" + printable(s.context)).lower()
    return word in names or str(s.pid).startswith(word)


@dataclass(frozen=True, slots=True)
class Layout:
    """How wide the first columns of `COLUMNS` are, and their titles; the others have no room."""

    widths: tuple[int, ...]
    titles: tuple[str, ...]

    def line(self, row: Row) -> str:
        """A gap before each cell."""
        return "".join(
            " " + fit(column.cell(row), width, right=not column.is_text)
            for column, width in zip(COLUMNS, self.widths, strict=False)
        )

    def column_at(self, x: int) -> int | None:
        """The column at cell `x` of a line."""
        edge = 0
        for c, width in enumerate(self.widths):
            edge += width + 1
            if x < edge:
                return c
        return None


def lay_out(rows: Sequence[Row], width: int) -> Layout:
    """Columns for lines of `width` cells, a space between them. Where there is little room names are cut first, then
    titles get short, then the last columns go."""
    everything = [(False, COLUMNS)] + [(True, COLUMNS[:last]) for last in range(len(COLUMNS), 0, -1)]
    for short, columns in everything:
        widths = [column.cells(short, rows) for column in columns]
        spare = width - sum(widths) - len(columns)
        if spare >= 0:
            break
    for i, column in enumerate(columns):
        if column.is_text:
            wish = max((len(column.cell(row)) for row in rows), default=0)
            more = max(min(wish, column.most, widths[i] + spare) - widths[i], 0)
            widths[i] += more
            spare -= more
    return Layout(tuple(widths), tuple(column.short if short else column.title for column in columns))


def header(layout: Layout, view: View) -> str:
    """The titles, with an arrow at the one that the table is sorted by."""
    line = ""
    for c, (width, title) in enumerate(zip(layout.widths, layout.titles, strict=True)):
        arrow = ("▼" if view.descending else "▲") if c == view.sort else " "
        if COLUMNS[c].is_text and len(title) < width:
            line += " " + fit(title + arrow, width)
        elif COLUMNS[c].is_text:
            line += arrow + fit(title, width)
        else:
            line += fit(arrow + title, width + 1, right=True)
    return line

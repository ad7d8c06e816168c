"""The comparison as text: one table of at most 80 columns, and what it is worth."""

from __future__ import annotations

from typing import IO, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from binder_observe.analysis.names import printable
from binder_observe.comparison.result import CAVEAT, Comparison, Difference
from binder_observe.reports.comparison import words
from binder_observe.reports.terminal import WIDTH

MOST_ROWS: Final = 15
MOST_NAMES: Final = 6


def write(comparison: Comparison, file: IO[str], *, everything: bool = False) -> None:
    """To a terminal in its own width, else in 80 columns and without colour."""
    console = Console(file=file, width=None if file.isatty() else WIDTH, highlight=False, soft_wrap=False)
    console.print(render(comparison, everything=everything))


def render(c: Comparison, *, everything: bool = False) -> RenderableType:
    """The most important differences; with `everything` all of them."""
    rows = c.differences if everything else chosen(c)
    shown = rows if everything else rows[:MOST_ROWS]
    parts: list[RenderableType] = [Text(words.title(c), style="bold")]
    for letter, side in (("A", c.a), ("B", c.b)):
        parts.append(Text(printable(words.side(letter, side))))
        parts += [Text(printable(f"   note: {note}"), style="yellow") for note in side.notes]
    parts += [Text(printable(f"warning: {warning}"), style="yellow") for warning in c.warnings]
    parts.append(Text())
    if shown:
        parts += [_table(shown), Text()]
    if not c.significant:
        parts.append(Text("No difference is significant."))
    if len(shown) < len(rows):
        parts.append(Text(f"... and {len(rows) - len(shown)} more: -v shows all"))
    parts += [Text(words.summary(c)), *_missing("A", c.only_in_a), *_missing("B", c.only_in_b), Text()]
    return Group(*parts, *(Text(line, style="dim") for line in (words.LEGEND, words.METHOD, CAVEAT)))


def chosen(c: Comparison) -> tuple[Difference, ...]:
    """What is worth a look: the significant ones, and single numbers of all processes together. Of one process, single
    numbers are mostly chance."""
    return tuple(
        d for d in c.differences if d.significant or (d.verdict == "untested" and d.comm is None and not d.tiny)
    )


def _table(rows: tuple[Difference, ...]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("")
    table.add_column("METRIC", no_wrap=True)
    table.add_column("PROCESS", max_width=17, overflow="fold")
    for name in ("A", "B", "CHANGE", "95% CI"):
        table.add_column(name, justify="right", no_wrap=True)
    for d in rows:
        # Text, not str: a process may be called [bold]
        cells = (words.MARKS[d.verdict], d.metric.name, words.who(d), words.value(d, d.a), words.value(d, d.b),
                 words.change(d.change), words.interval(d))  # fmt: skip
        table.add_row(*(Text(cell) for cell in cells), style="bold" if d.significant else None)
    return table


def _missing(letter: str, names: tuple[str, ...]) -> list[Text]:
    if not names:
        return []
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return [Text(printable(f"Only in {letter}: {', '.join(names[:MOST_NAMES])}{more}"), style="yellow")]

"""What comes up over the table: help, notes, and questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from binder_observe.analysis.names import printable
from binder_observe.reports.terminal import quality
from binder_observe.top.frame import Frame
from binder_observe.top.table import COLUMNS
from binder_observe.top.text import SYMBOLS

KEYS = (
    ("↑ ↓", "select a process; PgUp, PgDn, Home, End, too"),
    ("← →", "sort by the column before, or after; a click on a title does it, too"),
    ("r", "reverse the order"),
    ("0", "order of the report: most pages held first"),
    ("/", "filter: words in the name or the context, or a PID; all must fit; Esc forgets it"),
    ("g", "show mappings that are gone, too"),
    ("Enter", "the selected process on the whole screen, and back"),
    ("space", "pause: live, the screen stands still and collection goes on; a recording stands still"),
    ("+ -", "a recording: play faster, slower"),
    ("e", "a recording: to its end, as fast as it can be read"),
    ("s", "save events from now on to a new file; again: end it"),
    ("n", "notes and findings"),
    ("? h", "this help"),
    ("q Ctrl-C", "quit"),
)


class Page(ModalScreen[None]):
    """Text to read, and to scroll where it is long."""

    AUTO_FOCUS = "VerticalScroll"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,h,n,enter,space", "dismiss", "Back", show=False)
    ]

    def __init__(self, heading: str, text: RenderableType) -> None:
        super().__init__()
        self._heading = heading
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = self._heading
            box.border_subtitle = "Esc: back"
            yield Static(self._text)


class Ask(ModalScreen[str | None]):
    """One line to type; None when Esc left it. `changed` hears of every letter."""

    AUTO_FOCUS = "Input"

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", show=False)]

    def __init__(self, question: str, value: str = "", changed: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self._question = question
        self._value = value
        self._changed = changed

    def compose(self) -> ComposeResult:
        yield Label(self._question, markup=False)
        yield Input(self._value, compact=True, select_on_focus=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        if self._changed:
            self._changed(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)


def help_page() -> RenderableType:
    """Keys, columns, and the characters of the page map."""
    names = [(c.title if c.short == c.title else f"{c.title}\n{c.short}", c.meaning) for c in COLUMNS]
    states = ("free", "active: in use", "LRU: idle, the shrinker may take it", "unknown: from before attach, or a gap")
    parts: list[RenderableType] = []
    for heading, rows in (
        ("Keys", list(KEYS)), ("Columns", names), ("Page map", list(zip(SYMBOLS.values(), states, strict=True))),
    ):  # fmt: skip
        grid = Table.grid("what", "meaning", padding=(0, 2))
        for what, meaning in rows:
            grid.add_row(Text(what, style="bold"), Text(meaning))
        parts += [Text(heading, style="bold underline"), grid, Text()]
    return Group(*parts)


def notes_text(frame: Frame) -> Text:
    """Findings, notes, and what the state machine could not explain."""
    report = frame.report
    text = Text()
    parts = (
        ("What stands out", [f"{f.severity}: {f.text}" for f in report.findings]),
        ("What limits these numbers", list(report.notes)),
        ("Transitions that the kernel cannot make", [f"{n} x {pair}" for pair, n in report.unexplained.items()]),
        ("Quality", [quality(report)]),
    )
    for heading, sentences in parts:
        text.append(f"{heading}\n", "bold underline")
        text.append("".join(f"- {printable(sentence)}\n" for sentence in sentences) or "- nothing\n")
        text.append("\n")
    return text

"""The parts of the screen."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget

from binder_observe.top.frame import Row
from binder_observe.top.lines import detail
from binder_observe.top.table import Layout, View, header, lay_out

_MARK = "▸"


class ProcessTable(Widget, can_focus=True):
    """One line a mapping. The selected mapping stays selected wherever it moves. Draws only what is seen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
    ]

    class Selected(Message):
        """Another mapping was selected."""

    class Sorted(Message):
        """The title of a column was clicked."""

        def __init__(self, column: int) -> None:
            super().__init__()
            self.column = column

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[Row, ...] = ()
        self.view = View()
        self.selected: int | None = None  # alloc
        self.index = 0
        self._first = 0  # row at the top

    def show(self, rows: tuple[Row, ...], view: View) -> None:
        """When the selected mapping is not there any more, its place stays selected."""
        self.rows, self.view = rows, view
        allocs = [row.process.state.alloc for row in rows]
        if self.selected in allocs:
            self.index = allocs.index(self.selected)
        self._select(self.index)
        self.refresh()

    def _select(self, index: int) -> None:
        self.index = max(0, min(index, len(self.rows) - 1))
        before = self.selected
        self.selected = self.rows[self.index].process.state.alloc if self.rows else None
        seen = max(self.size.height - 1, 1)
        self._first = max(0, min(self._first, self.index, len(self.rows) - seen))
        self._first = max(self._first, self.index - seen + 1)
        if self.selected != before:
            self.post_message(self.Selected())
        self.refresh()

    @property
    def row(self) -> Row | None:
        return self.rows[self.index] if self.rows else None

    @property
    def place(self) -> str:
        return f"{self.index + 1} of {len(self.rows)}" if self.rows else ""

    def render(self) -> Text:
        width, height = self.size
        layout = self._layout()
        lines = [Text(header(layout, self.view)[:width].ljust(width), style="bold underline")]
        for i in range(self._first, min(self._first + height - 1, len(self.rows))):
            row = self.rows[i]
            line = layout.line(row)
            if i == self.index:
                lines.append(Text((_MARK + line[1:]).ljust(width), style="reverse"))
            else:
                lines.append(Text(line, style="dim" if row.process.state.released else ""))
        return Text("\n", no_wrap=True, end="").join(lines)

    def _layout(self) -> Layout:
        return lay_out(self.rows, self.size.width)

    def action_move(self, step: int) -> None:
        self._select(self.index + step)

    def action_page(self, step: int) -> None:
        self._select(self.index + step * max(self.size.height - 2, 1))

    def on_resize(self) -> None:
        self._select(self.index)

    def on_click(self, event: events.Click) -> None:
        if event.y == 0:
            column = self._layout().column_at(event.x)
            if column is not None:
                self.post_message(self.Sorted(column))
        elif self._first + event.y - 1 < len(self.rows):
            self._select(self._first + event.y - 1)

    def on_mouse_scroll_down(self) -> None:
        self._select(self.index + 1)

    def on_mouse_scroll_up(self) -> None:
        self._select(self.index - 1)


class Detail(Widget):
    """The selected mapping."""

    def __init__(self, interval_ns: int) -> None:
        super().__init__()
        self._interval_ns = interval_ns
        self._row: Row | None = None
        self._place = ""

    def show(self, row: Row | None, place: str) -> None:
        self._row, self._place = row, place
        self.refresh()

    def render(self) -> Text:
        return detail(self._row, self._place, self.size.width, self.size.height, self._interval_ns)


class Line(Widget):
    """Styled text; gone while it is empty."""

    def __init__(self, *, id: str) -> None:  # noqa: A002  # textual's own name
        super().__init__(id=id)
        self._text = Text()

    def show(self, text: Text) -> None:
        self.display = bool(text)
        if text != self._text or text.spans != self._text.spans:
            again = len(text) != len(self._text)
            self._text = text
            self.refresh(layout=again)

    def render(self) -> Text:
        return self._text

"""The screen of `binder-observe top`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer

from binder_observe.top import lines
from binder_observe.top.collector import Collector
from binder_observe.top.frame import Frame
from binder_observe.top.playback import Playback
from binder_observe.top.saving import Saving
from binder_observe.top.screens import Ask, Page, help_page, notes_text
from binder_observe.top.table import View, arrange
from binder_observe.top.text import count
from binder_observe.top.widgets import Detail, Line, ProcessTable

POLL_S: Final = 0.05
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class TopApp(App[None]):
    """Shows the frames of a collector until the user has seen enough.

    `what` is observed; `playback` is the collector's source when it is a recording. With `leave` the end of the source
    is the end of the app, too. A failure of the source always is; the caller finds it in `collector.error`. When the
    terminal is gone, `hung_up` is called in a thread, `ending`, once the collector has ended, to end the process.
    """

    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = "ProcessTable"
    CSS = """
    Screen { layout: vertical; }
    Line { height: auto; }
    #title, #totals { height: 1; }
    #remarks { max-height: 2; }
    ProcessTable { height: 5fr; min-height: 3; }
    Detail { height: 4fr; min-height: 4; }
    .zoom ProcessTable { display: none; }
    Footer { height: 1; }
    /* the first line and the quality stay in view */
    Page VerticalScroll { border: round; padding: 0 1; width: 100%; height: 1fr; margin: 1 0 4 0; }
    Ask Label { width: 100%; text-style: bold; margin: 1 0 0 0; }
    Ask Input { width: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,h", "help", "Help", key_display="?"),
        Binding("left", "sort(-1)", "Sort", key_display="←→"),
        Binding("right", "sort(1)", show=False),
        Binding("r", "reverse", "Reverse"),
        Binding("0", "default_order", show=False),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("escape", "forget_filter", show=False),
        Binding("g", "gone", "Gone"),
        Binding("enter", "zoom", "Zoom", key_display="⏎"),
        Binding("space", "pause", "Pause", key_display="␣"),
        Binding("plus,equals_sign", "speed(1)", "Speed", key_display="+-"),
        Binding("minus", "speed(-1)", show=False),
        Binding("e", "to_end", "End"),
        Binding("s", "save", "Save"),
        Binding("n", "notes", "Notes"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]

    def __init__(
        self,
        collector: Collector,
        what: str,
        *,
        playback: Playback | None = None,
        leave: bool = False,
        hung_up: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(ansi_color=True)  # the terminal's own colours; without it NO_COLOR gives black on black
        self.theme = "ansi-dark"
        self.collector = collector
        self.playback = playback
        self.view = View()
        self.shown: Frame | None = None
        self.frozen = False
        self.ending: threading.Thread | None = None
        self._hung_up = hung_up
        self._what = what
        self._leave = leave
        self._told: tuple[Saving | None, list[str]] = (None, [])
        self.table = ProcessTable()
        self.detail = Detail(round(collector.interval_s * 1e9))
        self._title_line, self._totals = Line(id="title"), Line(id="totals")
        self._remarks, self._quality = Line(id="remarks"), Line(id="quality")

    def compose(self) -> ComposeResult:
        yield self._title_line
        yield self._totals
        yield self._remarks
        yield self.table
        yield self.detail
        yield self._quality
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            with contextlib.suppress(RuntimeError, ValueError):  # not the main thread
                loop.add_signal_handler(number, self.hang_up if number == signal.SIGHUP else self.exit)
        self.set_interval(POLL_S, self.look)
        self.look()

    def hang_up(self) -> None:
        """The terminal is gone. Textual can wait for ever to write to it, so this way out does not depend on it."""
        self.exit()
        if self.ending is not None:
            return
        self.ending = threading.Thread(target=self._end_without_terminal, name="hang-up", daemon=True)
        self.ending.start()

    def _end_without_terminal(self) -> None:
        self.collector.stop()
        self.collector.join()
        self._hung_up()

    def look(self) -> None:
        """Takes over what the collector has made since the last look."""
        if self.collector.ended.is_set() and (self._leave or self.collector.error):
            self.exit()
            return
        if self.collector.frame is not self.shown and not self.frozen:
            self.shown = self.collector.frame
            self.draw()
        saving, flags = self.collector.saving, self.flags()
        if (saving, flags) != self._told:
            self.draw_status()
            before = self._told[0]
            self._told = (saving, flags)
            if saving and saving.error and saving != before:
                self.notify(saving.error, severity="error", markup=False)

    def draw(self) -> None:
        """The whole screen anew, from the frame that is shown."""
        if self.shown is None:
            return
        rows = arrange(self.shown, self.view)
        # a short table leaves its room to the pane below; by tens, or the screen would jump
        self.table.styles.max_height = 1 + 10 * max(-(-len(rows) // 10), 1)
        self.table.show(rows, self.view)
        self.draw_detail()
        self.draw_status()

    def draw_detail(self) -> None:
        self.detail.show(self.table.row, self.table.place)

    def draw_status(self) -> None:
        if self.shown is None:
            self._title_line.show(Text("waiting for the first events..."))
            return
        self._title_line.show(lines.title(self.shown, self._what, self.flags(), self.size.width))
        self._totals.show(lines.totals(self.shown))
        shown = len(self.table.rows)
        self._remarks.show(Text(lines.remarks(self.shown, self.collector.saving, self.view.pattern, shown)))
        self._quality.show(lines.worth(self.shown))

    def flags(self) -> list[str]:
        """What is unusual about the screen."""
        flags = []
        if self.shown and (told := lines.told(self.shown.report)):
            flags.append(f"n: {told}")
        latest = self.collector.frame
        if self.frozen and self.shown and latest:
            more = latest.report.events - self.shown.report.events
            flags.append(f"PAUSED, collecting: +{count(more, 'event')}")
        if self.collector.ended.is_set():
            flags.append("END")
        elif self.playback:
            if self.playback.paused:
                flags.append("PAUSED")
            pace = f"to the end, {self.playback.fraction:.0%}" if self.playback.rushing else f"{self.playback.speed:g}x"
            flags.append(pace)
        return flags

    def on_resize(self) -> None:
        self.draw_status()

    def on_process_table_selected(self) -> None:
        self.draw_detail()

    def on_process_table_sorted(self, event: ProcessTable.Sorted) -> None:
        if event.column == self.view.sort:
            self.action_reverse()
        else:
            self._change(replace(self.view, sort=event.column, reverse=False))

    def _change(self, view: View) -> None:
        self.view = view
        self.draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("speed", "to_end"):
            return self.playback is not None
        return not (action == "save" and self.playback is not None)

    def action_sort(self, step: int) -> None:
        self._change(self.view.turned(step))

    def action_reverse(self) -> None:
        self._change(replace(self.view, reverse=not self.view.reverse))

    def action_default_order(self) -> None:
        self._change(replace(self.view, sort=None, reverse=False))

    def action_gone(self) -> None:
        self._change(replace(self.view, gone=not self.view.gone))

    def action_filter(self) -> None:
        before = self.view.pattern

        def typed(pattern: str | None) -> None:
            self._change(replace(self.view, pattern=(before if pattern is None else pattern).strip()))

        self.push_screen(Ask("Filter by name, context or PID (Esc: leave it as it was)", before, typed), typed)

    def action_forget_filter(self) -> None:
        self._change(replace(self.view, pattern=""))

    def action_zoom(self) -> None:
        self.screen.toggle_class("zoom")

    def action_pause(self) -> None:
        if self.playback:
            self.playback.paused = not self.playback.paused
        else:
            self.frozen = not self.frozen
        self.look()

    def action_speed(self, steps: int) -> None:
        if self.playback:
            self.playback.faster(steps)
        self.look()

    def action_to_end(self) -> None:
        if self.playback:
            self.playback.to_end()
        self.look()

    def action_save(self) -> None:
        saving = self.collector.saving
        if saving and saving.since_ns is None:
            self.notify(f"everything since the start goes to {saving.path} already (-o)", markup=False)
        elif self.collector.ended.is_set():
            self.notify("the observation is over: there is nothing more to save; -o keeps a whole run", markup=False)
        elif saving and not saving.done:
            self.collector.stop_saving()
        else:
            name = time.strftime("binder-observe-%Y%m%d-%H%M%S.arrows")
            question = "Save events from now on to (not what was before; -o keeps a whole run):"
            self.push_screen(Ask(question, name), self._save_to)

    def _save_to(self, path: str | None) -> None:
        if not path or not path.strip():
            return
        path = os.path.expanduser(path.strip())
        if os.path.lexists(path):  # nothing here overwrites
            self.notify(f"{path} already exists; give another name", severity="error", markup=False)
        else:
            self.collector.save(path)

    def action_notes(self) -> None:
        if self.shown:
            self.push_screen(Page("Notes", notes_text(self.shown)))

    def action_help(self) -> None:
        self.push_screen(Page("Help", help_page()))

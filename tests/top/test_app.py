"""The screen, driven by textual's pilot."""

from __future__ import annotations

import re

import pytest
from textual.pilot import Pilot

from binder_observe.events import Kind
from binder_observe.observation import Observation
from binder_observe.reports.terminal import quality
from binder_observe.rows import State
from binder_observe.top.app import TopApp
from binder_observe.top.table import COLUMNS, arrange
from binder_observe.top.text import SYMBOLS
from tests.build import META, attach, batch, install, park, release, row
from tests.top.build import FakeSource, S, named, three_processes
from tests.top.pilot import SMALL, pids, run, screen, wait


@pytest.fixture
def source() -> FakeSource:
    return FakeSource(batch(*three_processes()))


def map_states(app: TopApp) -> list[int]:
    """The states that the page map of the detail pane shows, read back from its characters."""
    state_of = {symbol: int(state) for state, symbol in SYMBOLS.items()}
    lines = [line for line in app.detail.render().plain.splitlines() if re.match(r" *\d+ [·█▒?]+$", line)]
    return [state_of[symbol] for line in lines for symbol in line.split()[1]]


@pytest.mark.parametrize("size", [SMALL, (120, 40), (200, 60)])
def test_everything_asked_for_is_in_view(source: FakeSource, size: tuple[int, int]) -> None:
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await wait(pilot, lambda: "alpha" in screen(pilot) and "Quit" in screen(pilot))
        seen = screen(pilot)
        assert "SIMULATED" in seen
        for column in COLUMNS:
            assert column.short in seen or column.title in seen
        assert "█ active 3" in seen
        assert app.shown is not None
        for word in quality(app.shown.report).split():
            assert word in seen

    run(source, script, size)


@pytest.mark.parametrize("size", [(40, 10), (1, 1)])
def test_a_tiny_terminal_does_no_harm(source: FakeSource, size: tuple[int, int]) -> None:
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await pilot.press("right", "down", "enter", "question_mark")
        await pilot.press("escape", "q")

    assert run(source, script, size).error is None


def test_keys_sort_and_reverse(source: FakeSource) -> None:
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        assert pids(app)[-1] == 102  # it holds nothing
        for i, column in enumerate(COLUMNS):
            await pilot.press("right")
            assert app.view.sort == i
            assert app.shown is not None
            assert list(app.table.rows) == list(arrange(app.shown, app.view)), column.name
        await pilot.press("left", "r")
        assert app.view.reverse
        await pilot.press("0")
        assert app.view.sort is None
        await pilot.press(*["right"] * 5)  # LRU
        assert pids(app)[0] == 101
        await wait(pilot, lambda: "▼LRU" in screen(pilot))
        await pilot.press("r")
        assert pids(app)[-1] == 101
        assert "▲LRU" in screen(pilot)

    run(source, script)


def test_the_mouse_sorts_and_selects(source: FakeSource) -> None:
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        title = app.table.render().plain.splitlines()[0]
        await pilot.click("ProcessTable", offset=(title.index("LRU") + 1, 0))
        assert (app.view.sort, pids(app)[0]) == (4, 101)
        await pilot.click("ProcessTable", offset=(title.index("LRU") + 1, 0))
        assert pids(app)[-1] == 101
        await pilot.click("ProcessTable", offset=(5, 3))
        assert app.table.index == 2
        assert app.detail.render().plain.startswith("── 101 beta")
        await pilot.click("ProcessTable", offset=(5, 7))  # below the rows
        assert app.table.index == 2

    run(source, script)


def test_the_filter_follows_typing_and_escape_leaves_it(source: FakeSource) -> None:
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await pilot.press("slash", "b", "e", "t")
        await wait(pilot, lambda: pids(app) == [101])
        await pilot.press("enter")
        await wait(pilot, lambda: "filter bet: 1 row" in screen(pilot))
        await pilot.press("slash", "x", "x")
        await wait(pilot, lambda: pids(app) == [])
        assert "no process" in app.detail.render().plain
        await pilot.press("escape")  # as it was before
        await wait(pilot, lambda: pids(app) == [101])
        await pilot.press("escape")
        await wait(pilot, lambda: len(pids(app)) == 3)
        await pilot.press("slash", "q")  # a letter, not a key
        await wait(pilot, lambda: pids(app) == [])
        assert app.is_running

    run(source, script)


def test_the_page_map_is_that_of_the_tracker(source: FakeSource) -> None:
    truth = Observation(META)
    truth.feed(batch(*three_processes()))

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        for _ in range(3):
            assert app.table.row is not None
            expected = truth.tracker.page_states(app.table.row.process.state.alloc).tolist()
            await wait(pilot, lambda expected=expected: map_states(app) == expected)  # type: ignore[misc]
            await pilot.press("down")
        assert app.table.index == 2  # the last: there is no further one
        await pilot.press("home")
        assert app.table.index == 0
        source.give(park(S, 0))
        truth.feed(batch(park(S, 0)))
        await wait(pilot, lambda: State.LRU in map_states(app))
        assert map_states(app) == truth.tracker.page_states(1).tolist()

    run(source, script)


def test_the_selected_process_stays_selected_where_it_moves(source: FakeSource) -> None:
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await pilot.press("end")
        assert app.table.row is not None
        assert app.table.row.process.state.pid == 102
        source.give(*(install(S + 10 * page, page, alloc=3) for page in range(8)))
        await wait(pilot, lambda: pids(app)[0] == 102)
        assert app.table.index == 0
        source.give(release(2 * S, alloc=3))
        await wait(pilot, lambda: 102 not in pids(app))
        assert app.table.index == 0  # its place
        await pilot.press("g")
        await wait(pilot, lambda: 102 in pids(app))
        assert "(gone)" in screen(pilot)

    run(source, script)


def test_help_and_notes_come_and_go_and_the_quality_stays(source: FakeSource) -> None:
    source.give(row(S, Kind.LOST, 7, alloc=3))

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await wait(pilot, lambda: "n: 1 note" in screen(pilot) or "note" in screen(pilot))
        for key, words in (("question_mark", "select a process"), ("n", "7 events were lost")):
            await pilot.press(key)
            await wait(pilot, lambda words=words: words in screen(pilot))  # type: ignore[misc]
            assert "SIMULATED" in screen(pilot)
            assert "! source simulated" in screen(pilot)
            assert "lost 7" in screen(pilot)
            await pilot.press("escape")
            await wait(pilot, lambda words=words: words not in screen(pilot))  # type: ignore[misc]
        await pilot.press("n", "q")
        await wait(pilot, lambda: len(app.screen_stack) == 1)
        assert app.is_running

    run(source, script)


def test_zoom_gives_the_process_the_whole_screen(source: FakeSource) -> None:
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        low = app.detail.size.height
        await pilot.press("enter")
        await wait(pilot, lambda: app.detail.size.height > low)
        assert "page-seconds by sender: sender" in screen(pilot)
        await pilot.press("enter")
        await wait(pilot, lambda: app.detail.size.height == low)

    run(source, script)


def test_untrusted_names_are_shown_as_they_are(source: FakeSource) -> None:
    source = FakeSource(
        batch(attach(), named(100, "[red]x[/]\x1b[2J"), row(0, Kind.MMAP, 4, task=100, name="[b]\n"), install(1))
    )

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await wait(pilot, lambda: "[red]x[/]?[2J" in screen(pilot))
        assert "[b]?" in screen(pilot)
        await pilot.press("n")

    run(source, script, (120, 40))

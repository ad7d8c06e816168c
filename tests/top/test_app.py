"""The screen, driven by textual's pilot."""

from __future__ import annotations

import asyncio
import html
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from binder_observe.analysis.summary import summarize
from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch, Kind
from binder_observe.observation import Observation
from binder_observe.recording import RecordingWriter
from binder_observe.reports.terminal import quality
from binder_observe.rows import State
from binder_observe.sources.recording import RecordingSource
from binder_observe.top.app import TopApp
from binder_observe.top.collector import Collector
from binder_observe.top.playback import Playback
from binder_observe.top.table import COLUMNS, arrange
from binder_observe.top.text import SYMBOLS
from tests.build import META, attach, batch, install, mapped, park, release, row
from tests.top.build import FakeSource, S, busy, named, three_processes

LIMIT_S = 60
SMALL = (80, 24)
Script = Callable[[Pilot[None], TopApp], Awaitable[None]]


def run(source: FakeSource, script: Script, size: tuple[int, int] = SMALL) -> Collector:
    collector = Collector(source, lambda: 0, interval_s=0.02)
    drive(TopApp(collector, "a test"), script, size)
    return collector


def drive(app: TopApp, script: Script, size: tuple[int, int] = SMALL) -> None:
    async def main() -> None:
        app.collector.start()
        async with app.run_test(size=size, notifications=True) as pilot:
            await wait(pilot, lambda: app.table.rows)
            await script(pilot, app)

    try:
        asyncio.run(main())
    finally:
        app.collector.stop()
        app.collector.join()


async def wait(pilot: Pilot[None], true: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, "it never came to be\n" + screen(pilot)
        await pilot.pause(0.01)


def screen(pilot: Pilot[None]) -> str:
    """What is seen, line by line."""
    lines: dict[int, str] = {}
    for number, text in re.findall(r'clip-path="url\(#[^)]*line-(\d+)\)">(.*?)</text>', pilot.app.export_screenshot()):
        lines[int(number)] = lines.get(int(number), "") + html.unescape(text).replace("\xa0", " ")
    return "\n".join(lines[number] for number in sorted(lines))


def words(pilot: Pilot[None]) -> str:
    """The same without its lines."""
    return " ".join(screen(pilot).split())


def pids(app: TopApp) -> list[int]:
    return [row.process.state.pid for row in app.table.rows]


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


def test_a_pause_freezes_the_screen_and_collection_goes_on(source: FakeSource, tmp_path: Path) -> None:
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await wait(pilot, lambda: app.shown and app.shown.report.events == 14)
        await pilot.press("space")
        frozen = app.shown
        source.give(park(S, 0), park(S + 1, 1))
        await wait(pilot, lambda: "PAUSED, collecting: +2 events" in screen(pilot))
        assert app.shown is frozen
        assert "█ active 3" in screen(pilot)
        await pilot.press("right")  # the frozen screen can be sorted
        assert app.shown is frozen
        await pilot.press("space")
        await wait(pilot, lambda: "█ active 1" in screen(pilot))
        assert "PAUSED" not in screen(pilot)

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


def test_saving_asks_for_a_name_says_where_and_gives_a_recording_of_what_followed(
    source: FakeSource, tmp_path: Path
) -> None:
    path = tmp_path / "r.arrows"

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await pilot.press("s")
        await wait(pilot, lambda: "from now on" in screen(pilot))
        app.screen.query_one(Input).value = str(path)
        await pilot.press("enter")
        await wait(pilot, lambda: "saving 0 events (from 0:00.0 on):" in words(pilot))
        source.give(park(S, 0), install(2 * S, 3, alloc=3))
        await wait(pilot, lambda: "saving 3 events" in words(pilot))
        await pilot.press("s")
        await wait(pilot, lambda: "saved 3 events" in words(pilot))
        await pilot.press("s")
        await wait(pilot, lambda: "from now on" in screen(pilot))
        app.screen.query_one(Input).value = str(path)
        await pilot.press("enter")
        await wait(pilot, lambda: "already exists" in screen(pilot))

    collector = run(source, script)
    assert path.stat().st_mode & 0o777 == 0o600
    saved = RecordingSource(path)
    observation = Observation(saved.meta)
    for part in saved.batches():
        observation.feed(part)
    report = summarize(observation)
    assert report.meta == META
    assert report.events == 3
    assert collector.frame is not None
    assert {(p.state.pid, p.state.active, p.state.lru, p.state.free) for p in report.processes} == {
        (p.state.pid, p.state.active, p.state.lru, p.state.free) for p in collector.frame.report.processes
    }


def test_a_whole_run_says_so_instead_of_saving_twice(source: FakeSource, tmp_path: Path) -> None:
    path = tmp_path / "whole.arrows"
    collector = Collector(source, lambda: 0, interval_s=0.02, whole=RecordingWriter(path, META))

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await wait(pilot, lambda: "saving 14 events (all)" in words(pilot))
        await pilot.press("s")
        assert len(app.screen_stack) == 1

    drive(TopApp(collector, "a test"), script)
    assert RecordingSource(path).note is None


def test_untrusted_names_are_shown_as_they_are(source: FakeSource) -> None:
    source = FakeSource(
        batch(attach(), named(100, "[red]x[/]\x1b[2J"), row(0, Kind.MMAP, 4, task=100, name="[b]\n"), install(1))
    )

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await wait(pilot, lambda: "[red]x[/]?[2J" in screen(pilot))
        assert "[b]?" in screen(pilot)
        await pilot.press("n")

    run(source, script, (120, 40))


@pytest.mark.parametrize("keys", [["q"], ["ctrl+c"], ["question_mark", "ctrl+c"], ["slash", "ctrl+c"]], ids=" ".join)
def test_quitting(source: FakeSource, keys: list[str]) -> None:
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await pilot.press(*keys)
        await wait(pilot, lambda: not app.is_running)
        assert app.return_code == 0

    run(source, script)
    assert source.closed


def test_a_failing_source_ends_the_app() -> None:
    class Failing(FakeSource):
        def batches(self) -> Iterator[EventBatch]:
            yield batch(*three_processes())
            self._stopped.wait()
            raise ObserveError("the cable is out")

    source = Failing()

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        source.stop()
        await wait(pilot, lambda: not app.is_running)

    assert str(run(source, script).error) == "the cable is out"


def test_playback_keeps_the_pace_of_its_clock(tmp_path: Path) -> None:
    path = tmp_path / "ten.arrows"
    with RecordingWriter(path, META) as writer:
        writer.write(batch(attach(S), mapped(16, ts=S), *(install((1 + i) * S + 5, i) for i in range(10))))
        writer.write(batch(row(12 * S, Kind.DETACH, alloc=0)))
    now = [0.0]
    tick = threading.Event()
    playback = Playback(RecordingSource(path), clock=lambda: now[0], sleep=lambda _: tick.wait(0.002))
    collector = Collector(playback, lambda: playback.position_ns, interval_s=0.01, notes=lambda: playback.notes)

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        def active(pages: int) -> Callable[[], bool]:
            return lambda: f"█ active {pages} " in screen(pilot)

        await wait(pilot, active(0))
        now[0] = 2.5
        await wait(pilot, active(3))
        assert "1x" in screen(pilot)
        assert "0:02.5" in screen(pilot)
        await pilot.press("space")
        await wait(pilot, lambda: "PAUSED" in screen(pilot))
        await pilot.pause(0.05)  # the pause has reached the other thread
        now[0] = 100.0
        await pilot.pause(0.05)
        assert active(3)()
        await pilot.press("space", "plus")
        await wait(pilot, lambda: "2x" in screen(pilot))
        now[0] += 1
        await wait(pilot, active(5))
        await pilot.press("s")  # it is a recording already
        assert len(app.screen_stack) == 1
        await pilot.press("e")
        await wait(pilot, lambda: "END" in screen(pilot))
        assert active(10)()
        assert "0:11.0" in screen(pilot)

    drive(TopApp(collector, "ten.arrows", playback=playback), script)
    assert collector.error is None


def test_the_end_is_shown_and_with_leave_it_is_the_end_of_the_app(source: FakeSource) -> None:
    async def stays(pilot: Pilot[None], app: TopApp) -> None:
        source.stop()
        await wait(pilot, lambda: "END" in screen(pilot))
        await pilot.press("s")
        await wait(pilot, lambda: "is over" in screen(pilot))

    run(source, stays)

    async def leaves(pilot: Pilot[None], app: TopApp) -> None:
        another.stop()
        await wait(pilot, lambda: not app.is_running)

    another = FakeSource(batch(*three_processes()))
    drive(TopApp(Collector(another, lambda: 0, interval_s=0.02), "a test", leave=True), leaves)


def test_the_screen_answers_under_a_flood() -> None:
    """Keys work while events come faster than they can be shown."""

    class Flood(FakeSource):
        def batches(self) -> Iterator[EventBatch]:
            yield batch(*three_processes(), park(40, 0))
            one = batch(*[r for _ in range(5000) for r in busy(50, 1, alloc=1)])
            while not self._stopped.is_set():
                yield one

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        before = app.shown
        app.simulate_key("right")  # the pilot's own keys would wait for an idle processor
        await wait(pilot, lambda: app.view.sort == 0)
        app.simulate_key("down")
        await wait(pilot, lambda: app.table.index == 1)
        await wait(pilot, lambda: app.shown is not before)
        app.simulate_key("q")
        await wait(pilot, lambda: not app.is_running)

    assert run(Flood(), script).error is None

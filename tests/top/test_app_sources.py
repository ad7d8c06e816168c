"""The screen and its source: pause, playback, saving, ends of all sorts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from binder_observe.analysis.summary import summarize
from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch, Kind
from binder_observe.observation import Observation
from binder_observe.recording import RecordingWriter
from binder_observe.sources.recording import RecordingSource
from binder_observe.top.app import TopApp
from binder_observe.top.collector import Collector
from binder_observe.top.playback import Playback
from tests.build import META, attach, batch, install, mapped, park, row
from tests.top.build import FakeSource, S, busy, three_processes
from tests.top.pilot import drive, run, screen, wait, words

pytestmark = pytest.mark.slow


@pytest.fixture
def source() -> FakeSource:
    return FakeSource(batch(*three_processes()))


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
    ticks = [0]

    def sleep(_: float) -> None:
        ticks[0] += 1
        time.sleep(0.002)

    playback = Playback(RecordingSource(path), clock=lambda: now[0], sleep=sleep)
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
        paused = ticks[0]
        await wait(pilot, lambda: ticks[0] > paused + 2)  # the other thread has heard of it
        position = playback.position_ns
        now[0] = 100.0
        await wait(pilot, lambda: ticks[0] > paused + 10)
        assert playback.position_ns == position
        assert active(3)()
        await pilot.press("space", "plus")
        await wait(pilot, lambda: "2x" in screen(pilot))
        now[0] += 1
        await wait(pilot, active(5))
        await pilot.press("s")  # it is a recording already
        assert len(app.screen_stack) == 1
        await pilot.press("e")
        await wait(pilot, lambda: re.search(r"\bEND\b", screen(pilot)))
        assert active(10)()
        assert "0:11.0" in screen(pilot)

    drive(TopApp(collector, "ten.arrows", playback=playback), script)
    assert collector.error is None


def test_the_end_is_shown_and_with_leave_it_is_the_end_of_the_app(source: FakeSource) -> None:
    async def stays(pilot: Pilot[None], app: TopApp) -> None:
        source.stop()
        await wait(pilot, lambda: re.search(r"\bEND\b", screen(pilot)))
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

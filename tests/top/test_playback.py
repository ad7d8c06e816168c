"""Playback keeps pace with a clock of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from binder_observe.events import EventBatch, Kind, concat
from binder_observe.recording import RecordingWriter
from binder_observe.sources.recording import RecordingSource
from binder_observe.top.playback import SPEEDS, TICK_S, Playback
from tests.build import META, attach, batch, install, mapped, park, row
from tests.top.build import S, busy


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Ten seconds: 100 reuses in each."""
    path = tmp_path / "ten.arrows"
    with RecordingWriter(path, META) as writer:
        writer.write(batch(attach(S), mapped(ts=S), install(S + 1), park(S + 3)))
        for second in range(1, 11):
            writer.write(batch(busy(second * S + 10, 100)))
            writer.flush()
        writer.write(batch(row(11 * S, Kind.DETACH, alloc=0)))
    return path


def playback(path: Path, speed: float = 1.0) -> tuple[Playback, Clock]:
    clock = Clock()
    return Playback(RecordingSource(path), speed, clock=clock, sleep=clock.sleep), clock


@pytest.mark.parametrize("speed", [0.5, 1, 2, 10, 1000])
def test_it_takes_as_long_as_it_took(path: Path, speed: float) -> None:
    source, clock = playback(path, speed)
    events = concat(source.batches())
    assert 10 / speed - 1e-6 <= clock.now <= 10 / speed + 2 * TICK_S
    whole = concat(RecordingSource(path).batches())
    assert (events.ts_ns == whole.ts_ns).all()
    assert (events.kind == whole.kind).all()
    assert events.names == whole.names


def test_nothing_comes_before_its_time(path: Path) -> None:
    source, clock = playback(path, 2)
    for part in source.batches():
        if len(part):
            assert part.ts_ns.max() <= source.position_ns <= S + clock.now * 2 * S + 1


def test_a_pause_holds_it_and_control_comes_back(path: Path) -> None:
    source, clock = playback(path)
    parts = source.batches()
    next(parts)
    source.paused = True
    begin, position = clock.now, source.position_ns
    assert not any(len(next(parts)) for _ in range(50))
    assert clock.now > begin + 2
    assert source.position_ns == position
    source.paused = False
    rest = concat(parts)
    assert rest.kind[-1] == Kind.DETACH
    assert clock.now == pytest.approx(begin + 2.5 + 10, abs=0.2)


def test_speed_may_change_on_the_way(path: Path) -> None:
    source, clock = playback(path)
    for _ in source.batches():
        if clock.now >= 5:
            source.speed = 10.0
    assert 5.5 <= clock.now <= 5.7


def test_to_the_end_takes_no_time_and_ends_a_pause(path: Path) -> None:
    source, clock = playback(path)
    parts = source.batches()
    next(parts)
    source.paused = True
    next(parts)
    paused = clock.now
    source.to_end()
    got = sum(part.kernel_events for part in parts)
    assert clock.now <= paused + TICK_S
    assert got == 10 * 200 + 2 + 1  # the first moment has descriptions only
    assert source.position_ns == 11 * S


def test_stop_ends_it(path: Path) -> None:
    source, clock = playback(path)
    parts = source.batches()
    next(parts)
    source.stop()
    assert sum(len(part) for part in parts) == 0
    assert clock.now <= TICK_S


def test_a_clock_that_steps_back_in_the_recording_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "back.arrows"
    with RecordingWriter(path, META) as writer:
        writer.write(batch(attach(5 * S), mapped(ts=5 * S), install(6 * S, 0), install(5 * S, 1), park(7 * S)))
    source, clock = playback(path)
    events: EventBatch = concat(source.batches())
    assert list(events.kind) == list(concat(RecordingSource(path).batches()).kind)
    assert 2 <= clock.now <= 2.2
    assert source.notes  # no DETACH


def test_speeds_step_up_and_down_to_their_ends(path: Path) -> None:
    source, _ = playback(path, 3)
    source.faster(1)
    assert source.speed == 5
    source.faster(-1)
    assert source.speed == 2
    for _ in range(20):
        source.faster(1)
    assert source.speed == SPEEDS[-1]
    for _ in range(20):
        source.faster(-1)
    assert source.speed == SPEEDS[0]

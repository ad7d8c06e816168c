"""The collector: frames, recordings from the start and from now on, failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binder_observe.analysis.summary import summarize
from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch, Kind
from binder_observe.observation import Observation
from binder_observe.opening import opening
from binder_observe.recording import RecordingWriter
from binder_observe.sources.recording import RecordingSource
from binder_observe.top.collector import Collector
from tests.build import META, Row, attach, batch, found, install, mapped, park, reclaim, release, reuse, row
from tests.top.build import FakeSource, S, busy, named, three_processes, until


def observed(path: Path) -> Observation:
    observation = Observation(META)
    source = RecordingSource(path)
    for part in source.batches():
        observation.feed(part)
    source.close()
    return observation


@pytest.fixture
def source() -> FakeSource:
    return FakeSource(batch(*three_processes()))


@pytest.fixture
def collector(source: FakeSource) -> Iterator[Collector]:
    made = Collector(source, lambda: 0, interval_s=0.01)
    yield made
    made.stop()
    made.join()


def events(collector: Collector) -> int:
    return collector.frame.report.events if collector.frame else 0


def test_frames_follow_the_events_and_the_end(source: FakeSource, collector: Collector) -> None:
    collector.start()
    until(lambda: events(collector) == 14)
    source.give(park(S), row(2 * S, Kind.DETACH, alloc=0))
    until(lambda: events(collector) == 15)
    collector.stop()
    collector.join()
    assert collector.ended.is_set()
    assert source.closed
    assert collector.error is None
    assert collector.frame is not None
    assert collector.frame.report.complete
    assert collector.frame.now_ns == 2 * S


def test_a_whole_recording_gives_the_same_report(source: FakeSource, tmp_path: Path) -> None:
    path = tmp_path / "whole.arrows"
    collector = Collector(source, lambda: 0, interval_s=0.01, whole=RecordingWriter(path, META))
    collector.start()
    source.give(park(S), row(2 * S, Kind.DETACH, alloc=0))
    collector.save(str(tmp_path / "second"))  # it is all kept already
    until(lambda: events(collector) == 15)
    collector.stop()
    collector.join()
    assert collector.frame is not None
    assert summarize(observed(path)).to_dict() == collector.frame.report.to_dict()
    assert collector.saving is not None
    assert (collector.saving.since_ns, collector.saving.events, collector.saving.done) == (None, 15, True)
    assert not (tmp_path / "second").exists()


def test_saving_from_now_on_begins_with_the_state_and_ends_on_demand(
    source: FakeSource, collector: Collector, tmp_path: Path
) -> None:
    path = tmp_path / "part.arrows"
    collector.start()
    until(lambda: events(collector) == 14)
    collector.save(str(path))
    until(lambda: collector.saving)
    assert path.stat().st_mode & 0o777 == 0o600
    source.give(park(S, 0), reclaim(2 * S, 0, alloc=2), install(3 * S, 5, alloc=3))
    until(lambda: events(collector) == 18)
    collector.stop_saving()
    until(lambda: collector.saving and collector.saving.done)
    source.give(park(4 * S, 1))  # not in the recording any more
    until(lambda: events(collector) == 19)
    report = summarize(observed(path))
    assert report.complete
    assert report.notes == ()
    by_pid = {p.state.pid: p.state for p in report.processes}
    assert {pid: (s.active, s.lru, s.free, s.unknown) for pid, s in by_pid.items()} == {
        100: (2, 1, 5, 0), 101: (1, 1, 6, 0), 102: (1, 0, 7, 0),
    }  # fmt: skip
    assert {pid: (s.installs, s.parks, s.reclaims) for pid, s in by_pid.items()} == {
        100: (0, 1, 0), 101: (0, 0, 1), 102: (1, 0, 0),
    }  # fmt: skip
    assert {s.comm for s in by_pid.values()} == {"alpha", "beta", "gamma"}
    assert {pid: s.high_watermark for pid, s in by_pid.items()} == {100: 3, 101: 3, 102: 6}
    assert collector.saving is not None
    assert collector.saving.events == 4


def test_a_source_that_ends_ends_the_recording(source: FakeSource, collector: Collector, tmp_path: Path) -> None:
    path = tmp_path / "part.arrows"
    collector.start()
    collector.save(str(path))
    until(lambda: collector.saving)
    source.give(park(S), row(2 * S, Kind.DETACH, alloc=0))
    collector.stop()
    collector.join()
    reader = RecordingSource(path)
    kinds = [int(k) for part in reader.batches() for k in part.kind]
    assert (kinds[0], kinds[-1]) == (Kind.ATTACH, Kind.DETACH)
    assert kinds.count(Kind.DETACH) == 1
    assert reader.note is None


def test_existing_files_are_not_overwritten_and_the_observation_goes_on(
    source: FakeSource, collector: Collector, tmp_path: Path
) -> None:
    path = tmp_path / "precious"
    path.write_text("precious")
    collector.start()
    collector.save(str(path))
    until(lambda: collector.saving)
    assert collector.saving is not None
    assert "exists" in (collector.saving.error or "")
    assert path.read_text() == "precious"
    source.give(park(S))
    until(lambda: events(collector) == 15)


def test_a_part_that_cannot_be_written_does_not_end_the_observation(
    source: FakeSource, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.start()
    collector.save(str(tmp_path / "part.arrows"))
    until(lambda: collector.saving)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("binder_observe.recording.writer.write_all", full)
    source.give(park(S))
    collector.stop_saving()
    until(lambda: collector.saving and collector.saving.error)
    source.give(park(2 * S, 1))
    until(lambda: events(collector) == 16)
    assert collector.error is None


def test_a_whole_recording_that_cannot_be_written_ends_it(
    source: FakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector(source, lambda: 0, whole=RecordingWriter(tmp_path / "whole", META, flush_interval_s=0))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("binder_observe.recording.writer.write_all", full)
    collector.start()
    collector.join()
    assert isinstance(collector.error, ObserveError)
    assert source.closed


def test_a_source_that_fails_ends_it() -> None:
    class Failing(FakeSource):
        def batches(self) -> Iterator[EventBatch]:
            yield batch(attach())
            raise ObserveError("the cable is out")

    source = Failing()
    collector = Collector(source, lambda: 0)
    collector.start()
    collector.join()
    assert str(collector.error) == "the cable is out"
    assert source.closed
    assert collector.ended.is_set()


def test_a_duration_ends_it(source: FakeSource) -> None:
    collector = Collector(source, lambda: 0, interval_s=0.01, duration_s=0.05)
    collector.start()
    collector.join()
    assert events(collector) == 14


def test_a_flood_drops_frames_not_events() -> None:
    source = FakeSource(batch(attach(), mapped(), install(1), park(3)))
    parts = [batch(busy(10 + 2000 * i, 1000)) for i in range(50)]
    for part in parts:
        source.put(part)
    collector = Collector(source, lambda: 0, interval_s=1000)
    collector.start()
    collector.stop()
    collector.join()
    assert events(collector) == 3 + 50 * 2000


STEPS = st.lists(
    st.one_of(
        st.integers(0, 3).map(lambda p: ("install", p)), st.integers(0, 3).map(lambda p: ("park", p)),
        st.integers(0, 3).map(lambda p: ("reuse", p)), st.integers(0, 3).map(lambda p: ("reclaim", p)),
        st.just(("lost", 0)), st.just(("release", 0)),
    ), max_size=25,
)  # fmt: skip


@settings(max_examples=60)
@given(STEPS, STEPS)
def test_an_opening_gives_the_state_of_every_page(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> None:
    """Whatever happened before, who reads from the opening on knows the same of every page."""

    def rows(steps: list[tuple[str, int]], now: int) -> list[Row | list[Row]]:
        make: dict[str, Callable[[int, int], Row | list[Row]]] = {
            "install": lambda ts, p: install(ts, p), "park": lambda ts, p: park(ts, p),
            "reuse": lambda ts, p: reuse(ts, p), "reclaim": lambda ts, p: reclaim(ts, p),
            "lost": lambda ts, p: row(ts, Kind.LOST, 3), "release": lambda ts, p: release(ts),
        }  # fmt: skip
        return [make[name](now + 10 * i, page) for i, (name, page) in enumerate(steps)]

    whole = Observation(META)
    whole.feed(
        batch(attach(), named(100, "alpha"), found(4), mapped(4, alloc=2), install(1, alloc=2), *rows(before, 9))
    )
    part = Observation(META)
    part.feed(opening(whole))
    later = batch(*rows(after, 1000))
    unexplained = sum(whole.tracker.unexplained().values())
    whole.feed(later)
    part.feed(later)
    live = [s.alloc for s in whole.tracker.allocs()]
    assert live == [s.alloc for s in part.tracker.allocs()]
    for alloc in live:
        assert part.tracker.page_states(alloc).tolist() == whole.tracker.page_states(alloc).tolist()
    if live == [1, 2]:
        assert sum(part.tracker.unexplained().values()) == sum(whole.tracker.unexplained().values()) - unexplained

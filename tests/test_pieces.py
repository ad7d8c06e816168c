"""The pieces of a recording, read as one and each alone: nothing doubled, nothing lost, whatever the seams cut."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binder_observe.api import open_recording
from binder_observe.audit import Audit
from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch, Kind, concat
from binder_observe.observation import Observation
from binder_observe.recording import RecordingReader, RecordingWriter
from binder_observe.rows import Began, State
from binder_observe.sources import Generation
from binder_observe.sources.recording import RecordingSource
from binder_observe.sources.simulator import SimulatorSource
from tests.build import META, attach, batch, found, install, mapped, park, reclaim, release, reuse, row
from tests.pieces import Cutter, between, own_rows, record, rows

pytestmark = pytest.mark.slow

STEPS = st.lists(
    st.tuples(
        st.sampled_from([k for k in Kind if k <= Kind.SNAPSHOT_HIGH or k == Kind.LOST]),
        st.integers(1, 3),  # alloc
        st.integers(0, 2),  # page, and how many were lost
        st.integers(1, 3),  # task
    ),
    max_size=60,
)
CUTS = st.lists(st.integers(0, 70), max_size=6)


def events(steps: list[tuple[Kind, int, int, int]]) -> EventBatch:
    first = [attach(), mapped(3, alloc=1), found(3, alloc=2), mapped(3, alloc=3)]
    first += [row(0, Kind.PROCESS, task=3, alloc=0, name="kswapd0"), row(0, Kind.PROCESS, task=2, alloc=0, name="x")]
    then = [row(1 + i, k, page, alloc=a, task=task) for i, (k, a, page, task) in enumerate(steps)]
    return batch(*first, *then, row(len(then) + 9, Kind.DETACH, alloc=0))


def observed(*parts: EventBatch) -> Observation:
    observation = Observation(META)
    for part in parts:
        observation.feed(part)
    return observation


def as_dict(*paths: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(open_recording(paths).report().to_json())
    return found


@settings(max_examples=100)
@given(STEPS, CUTS)
def test_pieces_read_as_one_are_what_happened(steps: list[tuple[Kind, int, int, int]], cuts: list[int]) -> None:
    whole = events(steps)
    with tempfile.TemporaryDirectory() as folder:
        paths = record(Path(folder) / "r", between(whole, cuts))
        assert list(rows(*paths[::-1]).rows()) == list(whole.rows())
        # and each row is in one piece
        own = [list(own_rows(path).rows()) for path in paths]
        for rest in own[:-1]:
            assert rest.pop()[1] == Kind.DETACH
        assert [r for rest in own for r in rest] == list(whole.rows())


@settings(max_examples=100)
@given(STEPS, CUTS)
def test_a_piece_alone_knows_what_the_tracker_knew(steps: list[tuple[Kind, int, int, int]], cuts: list[int]) -> None:
    """Except of an alloc that was being released at the seam: its parks are taken for ordinary ones."""
    whole = events([step for step in steps if step[0] != Kind.RELEASE_START])
    with tempfile.TemporaryDirectory() as folder:
        cutter = Cutter(Path(folder) / "r")
        states: list[dict[int, bytes]] = []
        with cutter.writer:
            for n, part in enumerate(between(whole, cuts)):
                if n:
                    before = cutter.writer.path
                    states.append(live(cutter.observed))
                    cutter.cut()
                    if cutter.writer.path == before:
                        states.pop()
                cutter.write(part)
        states.append(live(cutter.observed))
        paths = sorted(str(path) for path in Path(folder).iterdir())
        assert [live(observed(rows(path))) for path in paths] == states


def live(observation: Observation) -> dict[int, bytes]:
    tracker = observation.tracker
    return {s.alloc: tracker.page_states(s.alloc).tobytes() for s in tracker.allocs() if not s.released}


@settings(max_examples=100)
@given(STEPS, CUTS, st.sets(st.integers(0, 6)))
def test_what_is_missing_is_counted(
    steps: list[tuple[Kind, int, int, int]], cuts: list[int], missing: set[int]
) -> None:
    """What was received and what was lost add up to what happened; who is alive, and in what state, is known again."""
    whole = events([step for step in steps if step[0] != Kind.RELEASE_START])
    with tempfile.TemporaryDirectory() as folder:
        paths = record(Path(folder) / "r", between(whole, cuts))
        kept = [path for n, path in enumerate(paths) if n not in missing]
        if not kept:
            return
        source = RecordingSource(*kept)
        observation = observed(*source.batches())
        with RecordingReader(kept[0]) as first, RecordingReader(kept[-1]) as last:
            assert first.meta.piece is not None
            assert last.meta.piece is not None
            end = last.meta.piece
            until = end.before + own_rows(kept[-1]).kernel_events + own_rows(kept[-1]).lost_events
            begin = first.meta.piece
        assert observation.tracker.events + observation.tracker.lost_events == until - begin.before
        alone = observed(rows(kept[-1]))
        assert live(observation) == live(alone)
        gone = [n for n in range(begin.index, end.index) if n - 1 in missing]
        for n in gone:
            assert any("not there" in note for note in source.notes), n
        assert ("begins with its piece" in str(source.notes)) == (begin.index > 1)
        assert ("goes on after its piece" in str(source.notes)) == (len(paths) - 1 in missing)


@pytest.mark.parametrize("kernel", ["6.1", "6.8", "6.14"])
@pytest.mark.parametrize("scenario", ["steady", "racing-installers", "churn", "memory-pressure", "out-of-memory"])
def test_a_simulation_in_pieces_gives_the_same_report(tmp_path: Path, scenario: str, kernel: Generation) -> None:
    source = SimulatorSource(scenario, seed=4, duration_s=0.3, generation=kernel)
    whole = concat(source.batches())
    with RecordingWriter(tmp_path / "whole", source.meta) as writer:
        writer.write(whole)
    cuts = np.random.default_rng(1).integers(0, len(whole), 12).tolist()
    paths = record(tmp_path / "r.arrows", between(whole, cuts), source.meta)
    assert len(paths) == 13
    report = as_dict(tmp_path / "whole")
    assert as_dict(*paths) == report
    assert as_dict(tmp_path / "r.arrows") == report
    alone = [as_dict(path) for path in paths]
    assert sum(piece["events"] for piece in alone) == report["events"]
    assert sum(piece["duration_s"] for piece in alone) == pytest.approx(report["duration_s"])
    assert all(piece["complete"] and piece["unexplained"] == 0 for piece in alone)
    assert ["the recording goes on after its piece" in str(piece["notes"]) for piece in alone] == 12 * [True] + [False]
    assert ["the recording begins with its piece" in str(piece["notes"]) for piece in alone] == [False] + 12 * [True]
    # a page in flight at a seam is counted where its event is
    for count in ("installs", "reuses", "reclaims"):
        assert sum(p[count] for piece in alone for p in piece["processes"]) == pytest.approx(
            sum(p[count] for p in report["processes"]), abs=13
        )
    last = {p["alloc"]: p["pages"] for p in alone[-1]["processes"] if not p["released"]}
    assert last == {p["alloc"]: p["pages"] for p in report["processes"] if not p["released"]}


def test_a_life_across_seams_is_one(tmp_path: Path) -> None:
    paths = record(
        tmp_path / "r",
        [batch(attach(), mapped(), install(1)), batch(park(10)), batch(reuse(20)), batch(park(30), reclaim(40))],
    )
    (life,) = open_recording(paths).history.lives
    assert (life["began"], life["birth_ns"], life["end_ns"], life["reuses"]) == (Began.INSTALLED, 2, 40, 1)
    (alone,) = open_recording(paths[3]).history.lives
    assert (alone["began"], alone["end_ns"]) == (Began.BEFORE_ATTACH, 40)


def test_an_attempt_across_a_seam(tmp_path: Path) -> None:
    """One install, with its latency, when the pieces are read as one; alone its end is an install without a start."""
    start, end = install(10)
    paths = record(tmp_path / "r", [batch(attach(), mapped(), install(1, 3), start), batch(end)])
    whole, first, second = (open_recording(p).report().data for p in (paths, paths[0], paths[1]))
    counts = [(r.processes[0].state.installs, r.processes[0].state.installs_in_flight) for r in (whole, first, second)]
    assert counts == [(2, 0), (1, 1), (1, 0)]
    assert [q and q.n for q in (r.processes[0].install_latency for r in (whole, first, second))] == [2, 1, None]
    # the loser of a race whose start is before the seam cannot be told from one that was begun before anybody looked
    race = record(tmp_path / "race", [batch(attach(), mapped(), start, install(11, task=7)), batch(end)])
    counts = [(s.installs, s.duplicate_installs) for (s,) in (states(*p) for p in ([*race], race[:1], race[1:]))]
    assert counts == [(1, 1), (1, 0), (1, 0)]


def states(*paths: str) -> list[Any]:
    return list(observed(rows(*paths)).tracker.allocs())


def test_a_missing_piece(tmp_path: Path) -> None:
    """Pages go on as known after it; what was released meanwhile is, and an alloc of that time is there."""
    parts = [
        batch(attach(), mapped(), mapped(alloc=2), install(1), install(3, alloc=2), row(4, Kind.LOST, 5, alloc=2)),
        batch(park(10), release(12, alloc=2), mapped(7, ts=15, alloc=3), install(16, 6, alloc=3)),
        batch(row(20, Kind.LOST, 9, alloc=3), reuse(30)),
        batch(park(40), row(50, Kind.DETACH, alloc=0)),
    ]
    first, second, third, fourth = record(tmp_path / "r", parts)
    source = RecordingSource(first, third, fourth)
    observation = observed(*source.batches())
    assert source.notes == (f"piece 2 is not there: {parts[1].kernel_events} events are missing",)
    one, three = observation.tracker.allocs()
    assert observation.tracker.page_states(1).tolist() == [State.LRU, *3 * [State.FREE]]
    assert (one.unknown, one.installs, one.parks, one.reuses, one.unexplained) == (0, 1, 1, 1, 0)
    assert [p.state.alloc for p in observation.released().reports({})] == [2]
    assert (three.mapping_pages, three.lost_events) == (7, 9)
    lives = open_recording([first, third, fourth]).history.lives
    assert {(int(life["alloc"]), Began(life["began"]).name) for life in lives if life["alloc"] == 1} == {
        (1, "INSTALLED"), (1, "AFTER_GAP"),
    }  # fmt: skip
    report = as_dict(first, third, fourth)
    # the release of alloc 2 is a row again, and the two gaps that were recorded count, too
    assert report["lost_events"] == parts[1].kernel_events - 1 + 5 + 9
    assert report["unexplained"] == 0
    assert source.notes[0] in report["notes"]

    source = RecordingSource(first, fourth)
    observed(*source.batches())
    assert source.note == f"pieces 2 to 3 are not there: {parts[1].kernel_events + 9 + 1} events are missing"
    source = RecordingSource(third, second)
    observed(*source.batches())
    assert source.notes == (
        f"the recording begins with its piece 2: {parts[0].kernel_events + 5} events before it are not there",
        "the recording goes on after its piece 3, the last one that is there",
    )


def test_a_piece_that_is_damaged(tmp_path: Path) -> None:
    """What cannot be read of it is a gap of known size."""
    cutter = Cutter(tmp_path / "r")
    with cutter.writer:
        for part in (batch(attach(), mapped(), install(1)), batch(install(10, 1), park(20)), batch(park(30, 1))):
            cutter.write(part)
            if part.ts_ns[0] == 30:
                cutter.cut()
            cutter.writer._writer.flush()
        cutter.write(batch(reuse(40), row(50, Kind.DETACH, alloc=0)))
    first, second = sorted(tmp_path.iterdir())
    with RecordingReader(first) as reader:
        assert [len(part) for part in reader.batches()] == [4, 3, 1, 1]
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    source = RecordingSource(first, second)
    observation = observed(*source.batches())
    (alloc,) = observation.tracker.allocs()
    read = alloc.installs * 2 + alloc.parks + alloc.reuses
    assert observation.tracker.lost_events == 7 - read > 0
    assert observation.tracker.page_states(1).tolist() == [State.ACTIVE, State.LRU, State.FREE, State.FREE]
    damaged, missing = source.notes
    assert "is damaged" in damaged
    assert missing == f"{7 - read} events at the end of piece 1 are missing"


def test_an_empty_last_piece_is_no_matter(tmp_path: Path) -> None:
    """Killed while it was being begun: its header is there, its opening is not, or in part."""
    first, second = map(Path, record(tmp_path / "r", [batch(attach(), mapped(), install(1)), batch(park(9))]))
    whole, seen = second.read_bytes(), set()
    for length in range(0, len(whole), 50):
        second.write_bytes(whole[:length])
        try:
            with RecordingReader(second):
                pass
        except ObserveError:
            continue  # not even its header is whole
        read = observed(rows(first, second))
        (alloc,) = read.tracker.allocs()
        assert read.tracker.events in (2, 3)
        assert (alloc.active, alloc.lru) == ((1, 0) if read.tracker.events == 2 else (0, 1))
        seen.add(read.tracker.events)
    assert seen == {2, 3}


def test_the_latest_audit_goes_along(tmp_path: Path) -> None:
    said = Audit(checked=True, compared=3)
    paths = record(
        tmp_path / "r",
        [batch(attach(), mapped(), install(1)), concat([batch(park(9)), said.event(9)]), batch(reuse(20))],
    )
    assert [open_recording(path).report().data.audit.compared for path in paths] == [0, 3, 3]
    assert open_recording(paths).report().data.audit == said
    kinds = [int(kind) for part in open_recording(paths).batches() for kind in part.kind]
    assert kinds.count(Kind.AUDIT) == 1

"""The live path on real kernels, held against the kernel's own counts and ftrace's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from binder_observe.analysis.summary import summarize
from binder_observe.api import open_recording
from binder_observe.events import EventBatch, Kind, concat
from binder_observe.observation import Observation
from binder_observe.recording.pieces import pieces_of
from binder_observe.sources.recording import RecordingSource
from binder_observe.sources.until import Until
from tests.kernels import oracle, session
from tests.kernels.session import Session

pytestmark = pytest.mark.kernel


def events(path: Path) -> EventBatch:
    source = RecordingSource(path)
    return concat(source.batches())


def report_at(path: Path, time_ns: int) -> dict[str, Any]:
    source = Until(RecordingSource(path), time_ns)
    observation = Observation(source.meta)
    for batch in source.batches():
        observation.feed(batch)
    return summarize(observation).to_dict()


def process(report: dict[str, Any], pid: int, context: str = "binder") -> dict[str, Any]:
    (found,) = [p for p in report["processes"] if (p["pid"], p["context"]) == (pid, context)]
    assert isinstance(found, dict)
    return found


def test_doctor_finds_all_it_needs(booted: Session) -> None:
    assert booted.status("doctor") == 0
    found = booted.json("doctor")
    assert found["ok"]
    assert found["generation"] == booted.generation


@pytest.mark.parametrize("name", ["whole", "owner", "flood", "lists", "skips"])
def test_observation_ends_in_order_without_noise(booted: Session, name: str) -> None:
    assert booted.status(name) == 0
    said = booted.text(f"{name}.err").splitlines()
    assert said[0] == "Tracing binder pages... Hit Ctrl-C to end."
    assert all("mappings  active" in line for line in said[1:]), said


@pytest.mark.parametrize("booted", session.SCENES["brief"], indirect=True)
def test_duration_ends_in_order(booted: Session) -> None:
    assert booted.status("brief") == 0
    assert booted.text("brief.err") == ""
    report = booted.json("brief")
    assert report["complete"]
    assert report["duration_s"] >= 1


def test_metadata_sizes_are_the_kernels(booted: Session) -> None:
    own = "binder_shrinker_mdata" if booted.generation == "6.14" else "binder_lru_page"
    assert booted.json("whole")["metadata_cost"]["from_btf"] == [own]


def test_reports_say_what_they_come_from(booted: Session) -> None:
    report = booted.json("whole")
    assert report["schema"] == 1
    assert report["source"] == "live"
    assert report["generation"] == booted.generation
    assert report["kernel"].startswith(booted.kernel)
    assert report["complete"]
    assert report["lost_events"] == 0
    assert report["unexplained_by_transition"] == {}


def test_the_observer_says_that_the_kernel_agrees(booted: Session) -> None:
    audit = booted.json("whole")["audit"]
    assert audit["compared"] >= 5
    assert audit == {
        "checked": True, "agreed": True, "compared": audit["compared"], "inconclusive": 0, "differences": [],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["whole", "flood"])
def test_a_recording_keeps_what_the_observer_said(booted: Session, name: str) -> None:
    """Not only the comparison: nothing in the report is from elsewhere than the events."""
    live = booted.json(name)
    assert live["audit"]["checked"]
    assert json.loads(open_recording(booted.results / f"{name}.arrows").report().to_json()) == live


@pytest.mark.parametrize("booted", session.SCENES["rotated"], indirect=True)
def test_pieces_are_one_observation(booted: Session) -> None:
    assert booted.status("rotated") == 0
    pieces = pieces_of(str(booted.results / "rotated.arrows"))
    assert len(pieces) >= 2
    live = booted.json("rotated")
    assert live["audit"]["agreed"] is True
    assert json.loads(open_recording(pieces).report().to_json()) == live
    alone = [open_recording(path).report().to_dict() for path in pieces]
    assert sum(int(str(piece["events"])) for piece in alone) == live["events"]
    for piece in alone:
        assert (piece["complete"], piece["lost_events"], piece["unexplained"]) == (True, 0, 0)
        assert "unknown" not in str(piece["notes"])


def test_pages_are_known_again_after_a_gap(booted: Session) -> None:
    report = booted.json("flood")
    assert report["lost_events"] > 0
    assert report["audit"]["agreed"] is True
    assert report["audit"]["compared"] > 0
    assert not any(process["pages"]["unknown"] for process in report["processes"] if not process["released"])


@pytest.mark.parametrize("moment", session.CHECKPOINTS)
def test_counts_equal_the_kernels(booted: Session, moment: str) -> None:
    kernel = oracle.parse(booted.text(f"mixed/{moment}.stats"))
    ours = report_at(booted.results / "whole.arrows", int(booted.text(f"mixed/{moment}.time")))
    assert ours["lost_events"] == 0
    assert ours["unexplained"] == 0
    tracked = oracle.tracked(ours)
    assert kernel
    assert {key: tracked[key] for key in kernel} == kernel
    # the rest is what the kernel does not count, since its mapping is gone
    pids = booted.pids("mixed")
    assert set(tracked) - set(kernel) <= {(pids["vendor"], "hwbinder"), (pids["spawner"], "binder")}


def test_the_live_report_equals_the_kernel_at_the_end(booted: Session) -> None:
    kernel = oracle.parse(booted.text("mixed/end.stats"))
    tracked = oracle.tracked(booted.json("whole"))
    assert len(kernel) >= 5
    assert {key: tracked[key] for key in kernel} == kernel


def test_known_calls_give_the_predicted_counts(booted: Session) -> None:
    report = booted.json("whole")
    pids = booted.pids("known")
    predicted = {"server": (13, 16, 29, 12, 12), "client": (5, 12, 17, 4, 4)}  # by hand, in known.requests
    for name, (installs, reuses, parks, reclaims, high) in predicted.items():
        found = process(report, pids[name])
        assert found["installs"] == installs
        assert found["reuses"] == reuses
        assert found["parks"] == parks
        assert found["reclaims"] == reclaims
        assert found["pages"] == {"active": 0, "lru": 1, "free": 253, "unknown": 0, "high_watermark": high}
        assert found["duplicate_installs"] == found["failed_installs"] == 0
        assert found["released"]
        assert found["comm"] == name
        assert found["lives"] == {"reclaimed": reclaims, "released": 1, "alive": 0, "lost": 0, "left_truncated": 0}


def test_one_pid_two_contexts_two_mappings(booted: Session) -> None:
    pid = booted.pids("mixed")["vendor"]
    contexts = [p["context"] for p in booted.json("whole")["processes"] if p["pid"] == pid]
    assert sorted(contexts) == ["binder", "hwbinder"]


def test_pid_is_the_owner_whoever_caused_it(booted: Session) -> None:
    pids = booted.pids("owner")
    report = booted.json("owner")
    assert [p["pid"] for p in report["processes"]] == [pids["server"]]
    assert process(report, pids["server"])["released"]  # the observer outlived its process, and ended by itself
    assert report["filters"] == {"pid": [str(pids["server"])]}
    batch = events(booted.results / "owner.arrows")
    by_senders = np.isin(batch.kind, (Kind.ALLOC_PAGE_END, Kind.ALLOC_LRU_START))
    assert set(batch.tgid[by_senders].tolist()) == {pids["client"], pids["other"]}
    assert set(batch.alloc[batch.kind <= Kind.RELEASE_END].tolist()) == {1}
    names = {int(batch.tgid[row]): name for row, name in batch.names.items() if batch.kind[row] == Kind.PROCESS}
    assert names[pids["client"]] == "client"


def test_owner_opened_before_attach_is_followed(booted: Session) -> None:
    """Nothing was installed before, so that only pages nobody touched since are unknown, and those are free."""
    ((active, lru, _, high),) = oracle.parse(booted.text("owner.stats"))[booted.pids("owner")["server"], "binder"]
    log = [json.loads(line) for line in booted.text("owner/log.jsonl").splitlines()]
    done = next(entry["ts_ns"] for entry in log if entry["request"] == "touch done")
    found = process(report_at(booted.results / "owner.arrows", done), booted.pids("owner")["server"])
    assert (found["pages"]["active"], found["pages"]["lru"], found["pages"]["high_watermark"]) == (active, lru, high)
    assert not found["observed_from_birth"]


def test_what_cannot_be_read_is_said(booted: Session) -> None:
    notes = booted.json("owner")["notes"]
    why = "/proc/kallsyms hides addresses (no CAP_SYSLOG, or kernel.kptr_restrict)"
    assert f"page states cannot be read: {why}" in notes
    assert any(note.startswith("pages from before attach unknown: ") for note in notes)
    assert not any("cannot be read" in note for note in booted.json("whole")["notes"])


def test_lost_and_received_events_add_up(booted: Session) -> None:
    report = booted.json("flood")
    assert report["lost_events"] > 0
    assert report["events"] + report["lost_events"] == sum(booted.counted("flood").values())
    assert any("lost" in note for note in report["notes"])
    batch = events(booted.results / "flood.arrows")
    assert batch.lost_events == report["lost_events"]
    assert batch.kernel_events == report["events"]


def test_no_life_spans_a_gap(booted: Session) -> None:
    observation = Observation(RecordingSource(booted.results / "flood.arrows").meta)
    gaps: dict[int, list[int]] = {}
    spanning = []
    for batch in RecordingSource(booted.results / "flood.arrows").batches():
        lives = observation.tracker.update(batch).lives
        for row in (batch.kind == Kind.LOST).nonzero()[0]:
            gaps.setdefault(int(batch.alloc[row]), []).append(int(batch.ts_ns[row]))
        spanning += [
            life
            for life in (*lives, *observation.tracker.alive())
            if any(life["birth_ns"] < gap < life["end_ns"] for gap in gaps.get(int(life["alloc"]), []))
        ]
    assert gaps
    assert spanning == []


def test_killed_recording_holds_all_that_was_flushed(booted: Session) -> None:
    assert booted.status("killed") == 137
    source = RecordingSource(booted.results / "killed.arrows")
    batch = concat(source.batches())
    counted = booted.counted("killed")
    kinds = {Kind[name.upper()]: n for name, n in counted.items()}
    assert {kind: int((batch.kind == kind).sum()) for kind in kinds} == kinds
    assert not (batch.kind == Kind.DETACH).any()
    assert source.note is not None


@pytest.mark.parametrize("name", ["whole", "skips", "killed"])
def test_nothing_is_left_in_the_kernel(booted: Session, name: str) -> None:
    ours = {"alloc_page_end", "free_lru_start", "release_return", "mmap_return", "free_page_entry"}
    left = {program.get("name") for program in json.loads(booted.text(f"{name}.progs"))}
    assert not ours & left
    assert "binder" not in booted.text(f"{name}.kprobes")


@pytest.mark.parametrize("booted", session.SCENES["refused"], indirect=True)
def test_pid_without_binder_is_said(booted: Session) -> None:
    assert booted.status("nobody") == 1
    assert booted.text("nobody.err") == "binder-observe: there is no process 999999\n"
    assert booted.status("init") == 1
    assert "has no binder device open" in booted.text("init.err")

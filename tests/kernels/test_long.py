"""Processes that come and go on a real kernel, which uses their pids and the addresses of their allocs again."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from binder_observe.analysis.summary import summarize
from binder_observe.events import Kind
from binder_observe.observation import Observation
from binder_observe.sources.recording import RecordingSource
from tests.kernels import session
from tests.kernels.session import SCENES, Session
from tests.kernels.test_live import events

pytestmark = [pytest.mark.kernel, pytest.mark.parametrize("booted", SCENES["long"], indirect=True)]

_BPF_MAPS = ("allocs", "descriptions", "in_mmap", "mapping", "in_release")


def opened(booted: Session) -> list[tuple[int, str]]:
    """(pid, name) of each process that opened binder, in order, as the workload wrote it down."""
    found = []
    for n in range(1, session.SHORT_LISTS + 1):
        for line in booted.text(f"short{n}/log.jsonl").splitlines():
            entry = json.loads(line)
            words = entry["request"].split()
            if words[0] == "open":
                found.append((entry["pid"], words[1]))
    return found


def test_pids_and_addresses_were_used_again(booted: Session) -> None:
    """Or nothing below would be worth much. The addresses are ftrace's, which counts releases by them."""
    pids = Counter(pid for pid, _ in opened(booted))
    assert len(opened(booted)) == session.SHORT_LISTS * (session.SHORT_LIVED + 1)
    assert max(pids.values()) > 1
    released = [int(n) for n in re.findall(r"hitcount: +(\d+)", booted.text("long.released"))]
    assert sum(released) >= len(opened(booted)) > len(released)


def test_each_is_kept_apart(booted: Session) -> None:
    batch = events(booted.results / "long.arrows")
    made = [(int(batch.alloc[row]), int(batch.tgid[row])) for row in (batch.kind == Kind.MMAP).nonzero()[0]]
    names = {int(batch.alloc[row]): name for row, name in batch.names.items() if batch.kind[row] == Kind.PROCESS}
    assert [(pid, names[alloc]) for alloc, pid in made] == opened(booted)
    assert len({alloc for alloc, _ in made}) == len(made)
    released = batch.alloc[batch.kind == Kind.RELEASE_END].tolist()
    assert sorted(released) == sorted(alloc for alloc, _ in made)


def test_counts_are_right(booted: Session) -> None:
    assert booted.status("long") == 0
    report = booted.json("long")
    assert report["lost_events"] == 0
    assert report["unexplained_by_transition"] == {}
    assert report["failed_installs"] == 0
    counted = booted.counted("long")
    rows = report["processes"]
    assert sum(p["mappings"] for p in rows) == len(opened(booted))
    assert sum(p["installs"] + p["duplicate_installs"] for p in rows) == counted["alloc_page_end"]
    assert sum(p["reuses"] for p in rows) == counted["alloc_lru_start"]
    assert sum(p["parks"] + p["teardown_parks"] for p in rows) == counted["free_lru_start"]
    assert sum(p["reclaims"] for p in rows) == counted["unmap_kernel_start"]
    assert all(p["released"] for p in rows)
    # each of them did the same: it got a reply of three pages
    clients = [p for p in rows if p["comm"] != "server"]
    assert sum(p["mappings"] for p in clients) == session.SHORT_LISTS * session.SHORT_LIVED
    assert all(p["installs"] == 3 * p["mappings"] for p in clients)
    each = {(p["pid"], p["comm"]) for p in rows if p["pid"] is not None}
    assert each <= set(opened(booted))
    assert any(p["pid"] is None for p in rows)  # some are folded


def test_the_recording_gives_the_same_report(booted: Session) -> None:
    source = RecordingSource(booted.results / "long.arrows")
    observation = Observation(source.meta)
    for batch in source.batches():
        observation.feed(batch)
    assert json.loads(json.dumps(summarize(observation).to_dict()["processes"])) == booted.json("long")["processes"]


def test_nothing_of_the_dead_stays_in_the_kernel(booted: Session) -> None:
    assert {name: booted.json(f"long.{name}") for name in _BPF_MAPS} == {name: [] for name in _BPF_MAPS}


def test_the_observers_memory_is_flat(booted: Session) -> None:
    early, late = (int(booted.text(f"long.{when}").split()[1]) for when in ("early", "late"))
    assert late < 1.1 * early

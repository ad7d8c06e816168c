"""Pages that the shrinker skips on real kernels, held against ftrace's own probe on the return of its callback."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from binder_observe.events import LRU_SKIPS, EventBatch, Kind, concat
from binder_observe.sources.recording import RecordingSource
from tests.kernels.session import Session

pytestmark = pytest.mark.kernel


def returned(booted: Session, name: str) -> Counter[int]:
    """How often the callback returned what, by ftrace's histogram."""
    pairs = re.findall(r"^\{ status: +(\d+) \} hitcount: +(\d+)$", booted.text(name), re.M)
    assert re.search(r"^ +Dropped: 0$", booted.text(name), re.M)
    return Counter({int(status): int(hits) for status, hits in pairs})


def statuses(booted: Session) -> dict[str, int]:
    """`enum lru_status` as bpftool reads it."""
    types = json.loads(booted.text("vmlinux.btf.json"))["types"]
    (found,) = [t for t in types if t.get("name") == "lru_status" and t["kind"] == "ENUM"]
    return {value["name"]: value["val"] for value in found["values"]}


def events(booted: Session) -> EventBatch:
    return concat(RecordingSource(booted.results / "skips.arrows").batches())


def until(batch: EventBatch, booted: Session, checkpoint: str) -> np.ndarray:
    return np.flatnonzero(batch.ts_ns <= int(booted.text(f"skips/{checkpoint}.time")))


def kinds(batch: EventBatch, rows: np.ndarray) -> Counter[Kind]:
    return Counter(Kind(int(k)) for k in batch.kind[rows])


def process(booted: Session, name: str) -> dict[str, Any]:
    pid = booted.pids("skips")[name]
    (found,) = [p for p in booted.json("skips")["processes"] if p["pid"] == pid]
    assert isinstance(found, dict)
    return found


def test_the_observation_is_whole(booted: Session) -> None:
    report = booted.json("skips")
    assert (report["lost_events"], report["unexplained"], report["notes"]) == (0, 0, [])
    assert "binder_alloc_free_page" in report["probes"]


def test_every_return_is_counted(booted: Session) -> None:
    (misses,) = re.findall(r"^ *returned +\d+ +(\d+)$", booted.text("skips.profile"), re.M)
    assert int(misses) == 0
    hits, status = returned(booted, "skips.hist"), statuses(booted)
    batch = events(booted)
    found = kinds(batch, np.arange(len(batch)))
    assert set(hits) == {status["LRU_SKIP"], status["LRU_REMOVED_RETRY"]}
    assert sum(found[kind] for kind in LRU_SKIPS) == hits[status["LRU_SKIP"]]
    assert found[Kind.UNMAP_KERNEL_START] == hits[status["LRU_REMOVED_RETRY"]]
    reported = booted.json("skips")["processes"]
    assert sum(sum(p["lru_skips"].values()) for p in reported) == hits[status["LRU_SKIP"]]
    assert sum(p["reclaims"] for p in reported) == hits[status["LRU_REMOVED_RETRY"]]


def test_pages_of_an_owner_that_has_ended_are_skipped_for_that(booted: Session) -> None:
    """Up to the first checkpoint nobody else is at work, so each skip of ftrace's is one of these."""
    batch = events(booted)
    rows = until(batch, booted, "gone")
    skips = rows[np.isin(batch.kind[rows], LRU_SKIPS)]
    assert set(kinds(batch, skips)) == {Kind.LRU_SKIP_MM_GONE}
    assert len(skips) == returned(booted, "skips_quiet.hist")[statuses(booted)["LRU_SKIP"]]
    ended = process(booted, "ended")
    assert set(batch.alloc[skips].tolist()) == {ended["alloc"]}
    # exactly its parked pages, each time that the list was walked: the rest is in use
    parked = batch.page[rows][(batch.kind[rows] == Kind.FREE_LRU_START) & (batch.alloc[rows] == ended["alloc"])]
    assert len(parked) == ended["pages"]["lru"] > 0
    assert ended["pages"]["active"] > 0
    assert set(batch.page[skips].tolist()) == set(parked.tolist())
    assert ended["reclaims"] == 0
    assert set(np.unique(batch.tgid[skips])).isdisjoint(booted.pids("skips").values())


def test_pages_of_who_lives_are_skipped_for_a_lock(booted: Session) -> None:
    for name in ("server", "client"):
        assert process(booted, name)["lru_skips"]["mm_gone"] == 0
    ended = process(booted, "ended")["lru_skips"]
    assert ended == {"alloc_lock": 0, "mmap_lock": 0, "mm_gone": ended["mm_gone"], "other": 0}
    server = process(booted, "server")["lru_skips"]
    assert server["alloc_lock"] + server["mmap_lock"] > 0


def test_without_latency_nothing_is_said_of_skips(booted: Session) -> None:
    report = booted.json("whole")
    assert "binder_alloc_free_page" not in report["probes"]
    assert all(p["lru_skips"] is None for p in report["processes"])

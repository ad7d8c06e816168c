from __future__ import annotations

from dataclasses import replace

import pandas as pd
from hypothesis import given

from binder_observe.events import LRU_SKIPS, EventBatch, Kind
from binder_observe.frames.lru import df_lru_efficiency
from binder_observe.frames.metadata import df_metadata
from binder_observe.frames.processes import df_processes
from binder_observe.history import History, collect
from binder_observe.sources.simulator import SimulatorSource
from binder_observe.tracker import LruSkips
from tests.build import META, attach, batch, install, mapped, park, reclaim
from tests.frames.brute import Replay, replay
from tests.frames.recordings import histories
from tests.frames.tables import key, rows


def counted(expected: Replay, alloc: int) -> dict[str, object]:
    mapping = expected.mappings[alloc]
    spans = [s for s in expected.spans if s.alloc == alloc]
    last = [s.state for s in spans if s.ended in ("detach", "release_end")]
    outcomes = [a.outcome for a in expected.attempts if a.alloc == alloc]
    touched = {s.page for s in spans if s.state in ("active", "lru")}
    pid, comm, context, _ = key(expected, alloc)
    return {
        "pid": pid, "comm": comm, "context": context, "alloc": alloc, "mapping_pages": mapping.pages,
        "active": last.count("active"), "lru": last.count("lru"), "free": last.count("free"),
        "unknown": last.count("unknown"), "high_watermark": max([mapping.high, *(page + 1 for page in touched)]),
        "touched": len(touched), "installs": outcomes.count("installed"),
        "duplicate_installs": outcomes.count("duplicate"), "failed_installs": outcomes.count("failed"),
        "parks": mapping.kinds[Kind.FREE_LRU_START] - mapping.teardown_parks,
        "reuses": mapping.kinds[Kind.ALLOC_LRU_START], "reclaims": mapping.kinds[Kind.UNMAP_KERNEL_START],
        "refaults": sum((s.began, s.ended) == ("unmap_kernel_start", "alloc_page_end") for s in spans),
        "released": mapping.released_ns is not None, "observed_from_birth": mapping.from_birth,
        "active_ns": sum(s.until_ns - s.since_ns for s in spans if s.state == "active"),
        "lru_ns": sum(s.until_ns - s.since_ns for s in spans if s.state == "lru"),
        "lost_events": mapping.lost, "unexplained": 0, "lru_skips": sum(mapping.kinds[kind] for kind in LRU_SKIPS),
    }  # fmt: skip


@given(histories())
def test_processes(case: tuple[EventBatch, History]) -> None:
    events, h = case
    expected = replay(events)
    frame = df_processes(h)
    found = [dict(zip(frame.columns, row, strict=True)) for row in rows(frame)]
    assert found == sorted(
        (counted(expected, alloc) for alloc in expected.mappings),
        key=lambda p: (p["released"], -(p["active"] + p["lru"]), p["pid"], p["alloc"]),  # type: ignore[operator]
    )


def test_processes_of_a_scenario_are_the_report() -> None:
    source = SimulatorSource("memory-pressure", duration_s=2.0)
    h = collect(source.meta, source.batches())
    reported = [p.state for p in h.report.processes]
    frame = df_processes(h)
    for column in ("pid", "comm", "context", "alloc", "installs", "parks", "reuses", "reclaims", "refaults", "touched"):
        assert frame[column].tolist() == [getattr(s, column) for s in reported]
    assert frame["reclaims"].sum() > 0


def test_what_was_not_probed_is_not_zero() -> None:
    events = batch(attach(), mapped(), install(10), park(20), reclaim(30))
    for probes, seen in ((["binder_alloc_free_page"], True), (["binder_unmap_kernel_start"], False)):
        h = collect(replace(META, source="live", probes=probes), [events])
        assert df_processes(h)["lru_skips"].tolist() == ([0] if seen else [pd.NA])
        assert [p.lru_skips for p in h.report.processes] == [LruSkips() if seen else None]
        efficiency = df_lru_efficiency(h)
        assert efficiency[["skipped_mm_gone", "skip_share"]].isna().to_numpy().all() != seen


def test_metadata_is_the_report() -> None:
    source = SimulatorSource("steady", duration_s=0.2)
    h = collect(source.meta, source.batches())
    frame = df_metadata(h)
    assert rows(frame) == list(h.report.metadata.series)
    assert frame["ts_s"].is_monotonic_increasing
    assert frame["after_bytes"].iloc[-1] == h.report.metadata.after.end

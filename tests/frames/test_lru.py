"""LRU efficiency and refaults, against the definition on small recordings and against the simulator on large ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binder_observe.analysis.report import ProcessReport
from binder_observe.events import EventBatch, Kind
from binder_observe.frames.lru import SKIPS, _delays, df_lru_efficiency, df_refaults
from binder_observe.history import History, collect
from binder_observe.sources.simulator import SimulatorSource
from tests.build import META, attach, batch, found, install, mapped, park, reclaim, release, reuse, row
from tests.frames.brute import Span, replay
from tests.frames.cells import KEYS, by, dtypes
from tests.frames.recordings import histories
from tests.frames.tables import key, rows

pytestmark = pytest.mark.slow

COUNTS = ["parks", "reused", "reclaimed", "released", "still_idle", "lost", "refaults"]
ENDS = {
    "alloc_lru_start": "reused", "unmap_kernel_start": "reclaimed", "release_end": "released",
    "detach": "still_idle", "lost": "lost",
}  # fmt: skip


def product_limit(spans: list[Span], p: float) -> int | None:
    """From the definition, over every time at which a missing page came back."""
    survival = 1.0
    back = [s.until_ns - s.since_ns for s in spans if s.ended == "alloc_page_end"]
    for t in sorted(set(back)):
        survival *= 1 - back.count(t) / sum(s.until_ns - s.since_ns >= t for s in spans)
        if survival <= 1 - p + 1e-12:
            return t
    return None


@settings(max_examples=80)
@given(histories())
def test_against_the_definition(case: tuple[EventBatch, History]) -> None:
    events, h = case
    frame = df_lru_efficiency(h)
    done = replay(events)
    assert sorted(rows(frame, *KEYS)) == sorted(key(done, alloc) for alloc in done.mappings)
    for process in h.report.processes:
        delays_agree(process, by(frame, "alloc")[process.state.alloc])
    for got in by(frame, "alloc").values():
        own = [s for s in done.spans if s.alloc == got["alloc"]]
        idle = [s for s in own if s.state == "lru"]
        missing = [s for s in own if s.state == "free" and s.began == "unmap_kernel_start"]
        expected = dict.fromkeys(COUNTS, 0)
        for span in idle:
            expected[ENDS[span.ended]] += 1
            expected["parks"] += span.began == "free_lru_start"
        expected["refaults"] = sum(s.ended == "alloc_page_end" for s in missing)
        assert {name: got[name] for name in COUNTS} == expected
        for name, part, whole in (
            ("reuse_share", "reused", expected["reused"] + expected["reclaimed"]),
            ("refault_share", "refaults", expected["reclaimed"]),
        ):
            assert got[name] == (expected[part] / whole if whole else None)
        for name, p in (("refault_delay_p50_ns", 0.5), ("refault_delay_p90_ns", 0.9)):
            assert got[name] == product_limit(missing, p)
        kinds = done.mappings[got["alloc"]].kinds
        skips = {reason: kinds[Kind[f"LRU_SKIP_{reason.upper()}"]] for reason in SKIPS}
        assert {reason: got[f"skipped_{reason}"] for reason in SKIPS} == skips
        offered = sum(skips.values()) + expected["reclaimed"]
        assert got["skip_share"] == (sum(skips.values()) / offered if offered else None)
        assert got["idle_page_s"] == pytest.approx(sum(s.until_ns - s.since_ns for s in idle) / 1e9)


@settings(max_examples=80)
@given(histories())
def test_refaults_against_the_definition(case: tuple[EventBatch, History]) -> None:
    events, h = case
    done = replay(events)
    expected = sorted(
        (s.until_ns, s.alloc, s.page, s.since_ns, s.until_ns - s.since_ns, s.starter, s.ender, *key(done, s.alloc))
        for s in done.spans
        if s.state == "free" and s.began == "unmap_kernel_start" and s.ended == "alloc_page_end"
    )
    columns = ["installed_ns", "alloc", "page", "reclaimed_ns", "delay_ns", "reclaimer_pid", "sender_pid"]
    frame = df_refaults(h)
    assert rows(frame, *columns, *KEYS) == expected
    names = [(done.comms.get(e[5] or 0), done.comms.get(e[6] or 0)) for e in expected]
    assert rows(frame, "reclaimer_comm", "sender_comm") == names


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.integers(0, 2)), max_size=30))
def test_delays_of_each_group(spent: list[tuple[int, bool, int]]) -> None:
    delay, ended, group = (np.array([r[i] for r in spent], dtype=t) for i, t in enumerate((np.int64, bool, np.intp)))
    found = _delays(delay, ended, group, 3, (0.5, 0.9))
    for g in range(3):
        spans = [
            Span(1, 0, "free", 0, d, "", "alloc_page_end" if e else "", None, None) for d, e, of in spent if of == g
        ]
        for i, p in enumerate((0.5, 0.9)):
            limit = product_limit(spans, p)
            assert found[i, g] == (-1 if limit is None else limit)


def test_one_alloc_by_hand() -> None:
    events = batch(
        attach(), mapped(), install(10, 0), park(20, 0), reuse(30, 0), park(40, 0), reclaim(50, 0), install(60, 0),
        install(70, 1), park(80, 1), reclaim(85, 1), park(95, 0), found(2, ts=95, alloc=2), reclaim(97, 0, alloc=2),
        release(98), row(100, 32, alloc=0),
    )  # fmt: skip
    frame = df_lru_efficiency(collect(META, [events]))
    assert rows(frame, "alloc", *COUNTS) == [
        (2, 0, 0, 1, 0, 0, 0, 0),  # parked before it was under observation
        (1, 4, 1, 2, 1, 0, 0, 1),
    ]
    assert by(frame, "alloc")[1]["reuse_share"] == pytest.approx(1 / 3)
    assert by(frame, "alloc")[1]["refault_delay_p50_ns"] == 11  # page 0 is back after that; page 1 never, in 15 ns
    assert frame["refault_delay_p90_ns"].isna().all()


@pytest.mark.parametrize("scenario", ["memory-pressure", "reclaim-storm"])
def test_the_simulators_truth_and_the_report(scenario: str) -> None:
    source = SimulatorSource(scenario, duration_s=1.0 if scenario == "memory-pressure" else 0.2, truth=True)
    h = collect(source.meta, source.batches())
    assert source.truth is not None
    frame = df_lru_efficiency(h)
    assert len(df_refaults(h)) == frame["refaults"].sum() > 0

    expected = {number: dict.fromkeys([*COUNTS, "idle_ns"], 0) for number in frame["alloc"]}
    taken: set[tuple[int, int]] = set()
    for life in source.truth.lives():  # by alloc, page and birth
        own = expected[life.alloc]
        own["refaults"] += (life.alloc, life.page) in taken
        times = [since for _, since in life.spans] + [h.end_ns if life.end_ns is None else life.end_ns]
        for (state, since), until in zip(life.spans, times[1:], strict=True):
            if state == "lru":
                own["parks"] += 1
                own["idle_ns"] += until - since
        own["reused"] += life.reuses
        if life.ended == "reclaimed":
            own["reclaimed"] += 1
            taken.add((life.alloc, life.page))
        elif life.spans[-1][0] == "lru":
            own["released" if life.ended == "released" else "still_idle"] += 1
    assert rows(frame, "alloc", *COUNTS) == [(n, *(own[c] for c in COUNTS)) for n, own in expected.items()]
    for process in h.report.processes:
        s = process.state
        got = by(frame, "alloc")[s.alloc]
        assert (got["parks"], got["reused"], got["reclaimed"], got["refaults"]) == (
            s.parks, s.reuses, s.reclaims, s.refaults,
        )  # fmt: skip
        assert got["idle_page_s"] == s.lru_ns / 1e9 == expected[s.alloc]["idle_ns"] / 1e9


def delays_agree(process: ProcessReport, got: dict[str, Any]) -> int:
    """How many of its delays are known."""
    quantiles, known = process.refault_delay, 0
    for name in ("p50", "p90"):
        reported, exact = getattr(quantiles, name, None), got[f"refault_delay_{name}_ns"]
        # within a bin the order of ends and censorings is lost, and with it whether the curve falls that far
        if reported is not None and exact is not None:
            assert exact <= reported <= exact * (1 + 1 / 128)
            known += 1
    return known


def test_delays_agree_with_the_report() -> None:
    """The report keeps durations in bins 1/128 wide."""
    source = SimulatorSource("reclaim-storm", duration_s=0.3)
    h = collect(source.meta, source.batches())
    frame = by(df_lru_efficiency(h), "alloc")
    assert sum(delays_agree(process, frame[process.state.alloc]) for process in h.report.processes)


def test_nothing_at_all() -> None:
    empty = collect(META, [])
    full = collect(META, [batch(attach(), mapped(), install(1), park(3), reclaim(4), install(5))])
    for make in (df_lru_efficiency, df_refaults):
        assert len(make(empty)) == 0
        assert dtypes(make(empty)) == dtypes(make(full))

"""Install attempts and their latency: against the definition on small recordings, the simulator on large ones."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch
from binder_observe.frames.installs import df_install_latency, df_installs
from binder_observe.history import History, collect
from binder_observe.sources.simulator import SimulatorSource
from tests.build import META, attach, batch, install, mapped, park, reclaim, release, row
from tests.frames.brute import Attempt, Replay, replay
from tests.frames.cells import KEYS, dtypes
from tests.frames.recordings import histories
from tests.frames.tables import key, rows
from tests.frames.test_reclaim import GAPS, bursts, reclaims


def during_reclaim(done: Replay, attempt: Attempt, gap_ns: int) -> bool:
    start_ns = attempt.end_ns if attempt.start_ns is None else attempt.start_ns
    return any(
        start_ns <= burst[-1].until_ns and burst[0].until_ns <= attempt.end_ns
        for burst in bursts(reclaims(done), gap_ns)
    )


def latency(attempt: Attempt) -> int | None:
    if attempt.start_ns is None or attempt.outcome not in ("installed", "duplicate"):
        return None
    return attempt.end_ns - attempt.start_ns


@settings(max_examples=60)
@given(histories(), GAPS)
def test_attempts_against_the_definition(case: tuple[EventBatch, History], gap_ns: int) -> None:
    events, h = case
    done = replay(events)
    expected = Counter(
        (
            *key(done, a.alloc), a.end_ns, a.page, a.tid, a.tgid, done.comms.get(a.tgid), a.start_ns, a.outcome,
            latency(a), during_reclaim(done, a, gap_ns),
        )
        for a in done.attempts
    )  # fmt: skip
    columns = [
        "end_ns", "page", "tid", "sender_pid", "sender_comm", "start_ns", "outcome", "latency_ns",
        "during_reclaim",
    ]  # fmt: skip
    found = rows(df_installs(h, gap_ns), *KEYS, *columns)
    assert Counter(found) == expected
    order = rows(df_installs(h, gap_ns), "end_ns", "alloc", "page", "tid")
    assert order == sorted(order)


@settings(max_examples=60)
@given(histories(), GAPS, st.sampled_from([("pid", "comm"), ("alloc",), ("sender_comm", "outcome"), ()]))
def test_latency_against_the_definition(case: tuple[EventBatch, History], gap_ns: int, names: tuple[str, ...]) -> None:
    events, h = case
    done = replay(events)
    groups: dict[tuple[Any, ...], list[Attempt]] = defaultdict(list)
    for a in done.attempts:
        pid = done.mappings[a.alloc].pid
        cells = {"pid": pid, "comm": done.comms.get(pid), "alloc": a.alloc, "outcome": a.outcome,
                 "sender_comm": done.comms.get(a.tgid)}  # fmt: skip
        groups[(*(cells[name] for name in names), during_reclaim(done, a, gap_ns))].append(a)
    expected = {}
    for group, attempts in groups.items():
        known = sorted(ns for ns in map(latency, attempts) if ns is not None)

        def quantile(p: float, known: list[int] = known) -> int | None:
            return next((ns for ns in known if sum(other <= ns for other in known) >= p * len(known)), None)

        expected[group] = (
            len(attempts), sum(a.outcome == "duplicate" for a in attempts),
            sum(a.outcome == "failed" for a in attempts), len(known), quantile(0.5), quantile(0.99), quantile(1),
        )  # fmt: skip
    frame = df_install_latency(h, names, gap_ns)
    columns = [*names, "during_reclaim"]
    n = len(columns)
    assert {r[:n]: r[n:] for r in rows(frame)} == expected
    assert len(frame) == len(expected)
    assert rows(frame, *columns) == rows(frame.sort_values(columns), *columns)


def test_by_hand() -> None:
    """An install that waits for reclaim, one that loses a race, one that fails, one whose start was not seen."""
    events = batch(
        attach(), mapped(), install(10, 0), park(20, 0), row(30, 1, 1), reclaim(40, 0), row(90, 2, 1), row(100, 2, 1),
        row(200, 1, 2, task=7), row(210, 2, 3, task=7), release(220), row(300, 32, alloc=0),
    )  # fmt: skip
    h = collect(META, [events])
    frame = df_installs(h, gap_ns=0)
    assert frame["outcome"].tolist() == ["installed", "installed", "duplicate", "failed", "installed"]
    assert rows(frame, "latency_ns") == [(1,), (60,), (None,), (None,), (None,)]
    assert frame["during_reclaim"].tolist() == [False, True, False, False, False]
    columns = ("during_reclaim", "n", "duplicates", "failed", "timed", "max_ns")
    assert rows(df_install_latency(h, (), gap_ns=0), *columns) == [(False, 4, 1, 1, 1, 1), (True, 1, 0, 0, 1, 60)]


@pytest.mark.parametrize("scenario", ["racing-installers", "out-of-memory", "memory-pressure"])
def test_the_simulator_and_the_report(scenario: str) -> None:
    source = SimulatorSource(scenario, duration_s=0.1 if scenario == "racing-installers" else 0.6, truth=True)
    h = collect(source.meta, source.batches())
    frame = df_installs(h)
    count = Counter(rows(frame, "alloc", "outcome"))
    outcomes = ("installed", "duplicate", "failed", "in_flight")
    for process in h.report.processes:
        s = process.state
        assert [count[s.alloc, outcome] for outcome in outcomes] == [
            s.installs, s.duplicate_installs, s.failed_installs, s.installs_in_flight,
        ]  # fmt: skip
    assert scenario != "racing-installers" or "duplicate" in set(frame["outcome"])
    assert scenario != "out-of-memory" or "failed" in set(frame["outcome"])

    assert source.truth is not None
    births = sorted((life.birth_ns, life.alloc, life.page) for life in source.truth.lives())
    installed = frame[frame["outcome"] == "installed"]
    assert rows(installed, "end_ns", "alloc", "page") == births

    latencies = df_install_latency(h, ("alloc",))
    assert latencies["n"].sum() == len(frame)
    assert latencies["timed"].sum() == frame["latency_ns"].notna().sum()
    for alloc, during, p99_ns, max_ns in rows(latencies, "alloc", "during_reclaim", "p99_ns", "max_ns"):
        own = frame[(frame["alloc"] == alloc) & (frame["during_reclaim"] == during)]
        known = sorted(own["latency_ns"].dropna())
        assert max_ns == (known[-1] if known else None)
        assert p99_ns == (known[math.ceil(0.99 * len(known)) - 1] if known else None)


def test_agrees_with_the_report() -> None:
    """The report keeps latencies in bins 1/128 wide."""
    source = SimulatorSource("out-of-memory", duration_s=0.6)
    h = collect(source.meta, source.batches())
    timed = df_installs(h).dropna(subset="latency_ns")
    known = 0
    for process in h.report.processes:
        own = timed.loc[timed["alloc"] == process.state.alloc, "latency_ns"].sort_values().to_numpy(dtype=int)
        q = process.install_latency
        assert (q is None) == (len(own) == 0)
        if q is not None:
            assert q.max == own[-1]
            for reported, p in ((q.p50, 0.5), (q.p99, 0.99)):
                exact = own[math.ceil(p * len(own)) - 1]
                assert reported is not None
                assert exact <= reported <= exact * (1 + 1 / 128)
                known += 1
    assert known


def test_nothing_at_all() -> None:
    empty = collect(META, [])
    full = collect(META, [batch(attach(), mapped(), install(1), park(3), reclaim(4))])
    for make in (df_installs, df_install_latency):
        assert len(make(empty)) == 0
        assert dtypes(make(empty)) == dtypes(make(full))


def test_a_column_that_is_none() -> None:
    with pytest.raises(ObserveError, match="colour"):
        df_install_latency(collect(META, []), ("pid", "colour"))

"""Who made whom grow: against the definition on small recordings, against the events and the model on large ones."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings

from binder_observe.events import EventBatch, Kind, concat
from binder_observe.frames.senders import df_senders
from binder_observe.history import History, collect
from binder_observe.sources.simulator import SimulatorSource
from tests.build import META, OWNER, attach, batch, found, install, mapped, park, reclaim, row
from tests.frames.brute import replay
from tests.frames.cells import KEYS, by, dtypes
from tests.frames.recordings import histories
from tests.frames.tables import key, rows

OUTCOMES = ("installed", "duplicate", "failed", "in_flight")


@settings(max_examples=80)
@given(histories())
def test_against_the_definition(case: tuple[EventBatch, History]) -> None:
    events, h = case
    done = replay(events)
    installs: Counter[tuple[int, int | None]] = Counter()
    attempts = {outcome: Counter[tuple[int, int | None]]() for outcome in OUTCOMES}
    active_ns, lru_ns = Counter[tuple[int, int | None]](), Counter[tuple[int, int | None]]()
    for life in done.lives:
        who = (life.alloc, life.sender if life.began == "installed" else None)
        installs[who] += life.began == "installed"
        active_ns[who] += life.active_ns
        lru_ns[who] += life.lru_ns
    for attempt in done.attempts:
        attempts[attempt.outcome][attempt.alloc, attempt.tgid] += 1
    expected = []
    for alloc, sender in {*installs}.union(*attempts.values()):
        who = (alloc, sender)
        held_ns = active_ns[who] + lru_ns[who]
        of_alloc = sum(n for (a, _), n in installs.items() if a == alloc)
        expected.append(
            (
                *key(done, alloc), sender, done.comms.get(sender or 0),
                installs[who], attempts["duplicate"][who], attempts["failed"][who], held_ns,
                active_ns[who], lru_ns[who], installs[who] / of_alloc if of_alloc else None,
                None if sender is None else sender == done.mappings[alloc].pid,
            )
        )  # fmt: skip
    expected.sort(key=lambda e: (-e[9], e[3], e[4] or 0))
    columns = [
        "sender_pid", "sender_comm", "installs", "duplicates", "failed", "held_ns", "active_ns", "lru_ns",
        "share_of_installs", "in_own",
    ]  # fmt: skip
    assert rows(df_senders(h), *KEYS, *columns) == expected


def test_by_hand() -> None:
    """Two senders and a page from before attach."""
    events = batch(
        attach(), mapped(), found(4, alloc=2), install(10, 0, task=7), install(20, 1, task=OWNER), park(30, 0),
        install(40, 1, task=7), row(60, Kind.ALLOC_PAGE_START, 3, task=8), park(50, 0, alloc=2),
        reclaim(61, 0), row(111, Kind.DETACH, alloc=0),
    )  # fmt: skip
    columns = (
        "alloc", "sender_pid", "installs", "duplicates", "failed", "held_ns", "active_ns", "lru_ns",
        "share_of_installs", "in_own",
    )  # fmt: skip
    assert rows(df_senders(collect(META, [events])), *columns) == [
        (2, None, 0, 0, 0, 111, 50, 61, None, None),
        (1, OWNER, 1, 0, 0, 90, 90, 0, 0.5, True),
        (1, 7, 1, 1, 0, 50, 19, 31, 0.5, False),
        (1, 8, 0, 0, 0, 0, 0, 0, 0.0, False),  # its attempt is in flight
    ]


@pytest.mark.parametrize("scenario", ["oneway-spam", "racing-installers", "out-of-memory"])
def test_the_simulators_events_and_truth(scenario: str) -> None:
    durations = {"oneway-spam": 1.5, "racing-installers": 0.1, "out-of-memory": 0.6}
    source = SimulatorSource(scenario, duration_s=durations[scenario], truth=True)
    batches = [*source.batches()]
    h = collect(source.meta, batches)
    frame = df_senders(h)
    events = concat(batches)

    def count(kind: Kind) -> Counter[tuple[int, int]]:
        which = events.kind == kind
        return Counter(zip(events.alloc[which].tolist(), events.tgid[which].tolist(), strict=True))

    columns = ("alloc", "sender_pid", "installs", "duplicates", "failed")
    ended = {(alloc, sender): n + lost for alloc, sender, n, lost, _ in rows(frame, *columns)}
    assert Counter(ended) == count(Kind.ALLOC_PAGE_END)
    in_flight = Counter(
        zip(*(h.installs[c][h.installs["outcome"] == 3].tolist() for c in ("alloc", "tgid")), strict=True)
    )
    failed = {(alloc, sender): n for alloc, sender, _, _, n in rows(frame, *columns)}
    assert Counter(failed) == count(Kind.ALLOC_PAGE_START) - count(Kind.ALLOC_PAGE_END) - in_flight

    assert source.truth is not None
    held: Counter[int] = Counter()
    for life in source.truth.lives():
        held[life.alloc] += (h.end_ns if life.end_ns is None else life.end_ns) - life.birth_ns
    added = ["installs", "duplicates", "failed", "held_ns", "active_ns", "lru_ns"]
    sums = by(frame.groupby("alloc")[added].sum().reset_index(), "alloc")
    assert {alloc: cells["held_ns"] for alloc, cells in sums.items()} == held
    for process in h.report.processes:
        s = process.state
        if s.alloc in sums:
            assert tuple(sums[s.alloc][c] for c in added) == (
                s.installs, s.duplicate_installs, s.failed_installs, s.active_ns + s.lru_ns, s.active_ns, s.lru_ns,
            )  # fmt: skip
    if scenario == "oneway-spam":
        own = frame[frame["comm"] == "system_server"]
        assert own.iloc[0]["sender_comm"] == "spammer"
        assert np.isclose(own["share_of_installs"].sum(), 1)


def test_agrees_with_the_report() -> None:
    """The report names the five that hold most."""
    source = SimulatorSource("oneway-spam", duration_s=1.5)
    h = collect(source.meta, source.batches())
    frame = df_senders(h)
    columns = ("sender_pid", "sender_comm", "installs", "duplicates", "held_ns")
    for process in h.report.processes:
        own = frame[(frame["alloc"] == process.state.alloc) & frame["sender_pid"].notna()]
        reported = [(s.pid, s.comm, s.installs, s.duplicate_installs, s.held_ns) for s in process.senders]
        assert rows(own.head(5), *columns) == reported
    assert any(process.senders for process in h.report.processes)


def test_nothing_at_all() -> None:
    empty = df_senders(collect(META, []))
    assert len(empty) == 0
    full = df_senders(collect(META, [batch(attach(), mapped(), install(1))]))
    assert dtypes(empty) == dtypes(full)

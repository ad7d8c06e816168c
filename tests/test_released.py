"""Mappings that are gone: folding them changes no total, and memory does not grow with them."""

from __future__ import annotations

import gc
import io
import json
import mmap
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binder_observe import history
from binder_observe.analysis import released
from binder_observe.analysis.report import Report
from binder_observe.analysis.summary import summarize
from binder_observe.events import COLUMNS, EventBatch, Kind, concat, from_rows
from binder_observe.exporter.ledger import Ledger
from binder_observe.lifetimes import reclaims, totals
from binder_observe.observation import Observation
from binder_observe.reports import html, notebook, report_schema, terminal
from binder_observe.sources.simulator import SimulatorSource
from binder_observe.top.frame import advance
from binder_observe.tracker import MAX_COMMS, PageTracker
from tests.build import (
    META,
    Row,
    all_states,
    attach,
    batch,
    install,
    mapped,
    park,
    reclaim,
    release,
    reuse,
    row,
)  # fmt: skip

ALL = 1 << 30
COUNTERS = (
    "mapping_pages", "touched_pages", "installs", "duplicate_installs", "failed_installs", "installs_in_flight",
    "reuses", "parks", "teardown_parks", "reclaims", "refaults", "lost_events", "unexplained", "active_ns", "lru_ns",
    "mappings", "long_idle_pages", "leak_suspects",
)  # fmt: skip


def observed(*batches: EventBatch, most_released: int = ALL) -> Report:
    observation = Observation(META, most_released=most_released)
    for one in batches:
        observation.feed(one)
    return summarize(observation)


def sums(told: dict[str, Any]) -> dict[str, int]:
    """Of each counter, over all mappings and over those of each name."""
    total: dict[str, int] = {}
    for p in told["processes"]:
        lives = {f"lives {k}": n for k, n in p["lives"].items()}
        pages = {f"pages {k}": n for k, n in p["pages"].items()}
        durations = {f"{k} {n}": p[k][n] for k in ("lifetime_ns", "install_latency_ns") for n in ("n", "censored")}
        for name, n in {**{c: p[c] for c in COUNTERS}, **lives, **pages, **durations}.items():
            for key in (name, f"{p['comm']} {p['context']} {name}"):
                total[key] = total.get(key, 0) + n
    return {name: n for name, n in total.items() if n}


def check_folded(whole: Report, folded: Report) -> None:
    """Everything but the rows of the processes is the same, and their sums are."""
    full, told = whole.to_dict(), folded.to_dict()
    assert sums(told) == sums(full)
    assert told | {"processes": []} == full | {"processes": []}
    jsonschema.validate(json.loads(json.dumps(told)), report_schema())
    each = {p.state.alloc: p for p in whole.processes}
    kept = {p.state.alloc: p for p in folded.processes if not p.folded}
    assert kept == {alloc: each[alloc] for alloc in kept}
    assert {a for a, p in each.items() if not p.state.released} <= set(kept)


@pytest.mark.slow
@pytest.mark.parametrize("most", [0, 2])
@pytest.mark.parametrize("scenario", ["churn", "app-launch", "out-of-memory", "memory-pressure"])
def test_a_folded_report_says_the_same(scenario: str, most: int) -> None:
    source = SimulatorSource(scenario, duration_s=3.0)
    batches = list(source.batches())
    # the same mappings once more, released in the end
    last = max(int(b.alloc.max()) for b in batches if len(b))
    end = max(int(b.ts_ns.max()) for b in batches if len(b))
    batches.append(batch(*(release(end + 10 * n, alloc=n) for n in range(1, last + 1))))
    whole, folded = observed(*batches), observed(*batches, most_released=most)
    assert sum(p.folded for p in folded.processes) > 1
    assert sum(p.state.released for p in folded.processes if not p.folded) == most
    check_folded(whole, folded)


_ACTIONS: dict[str, Callable[[int, int, int, int], list[Row]]] = {
    "install": lambda ts, page, alloc, task: install(ts, page, alloc=alloc, task=task),
    "park": lambda ts, page, alloc, task: [park(ts, page, alloc=alloc)],
    "reuse": lambda ts, page, alloc, task: [reuse(ts, page, alloc=alloc, task=task)],
    "reclaim": lambda ts, page, alloc, task: [reclaim(ts, page, alloc=alloc)],
    "release": lambda ts, page, alloc, task: release(ts, alloc=alloc),
    "lost": lambda ts, page, alloc, task: [row(ts, Kind.LOST, 2, alloc=alloc)],
}
_STEPS = st.lists(
    st.tuples(
        st.integers(1, 8),  # alloc
        st.sampled_from([*_ACTIONS]),
        st.integers(0, 1),  # page
        st.integers(1, 3),  # task
    ),
    max_size=80,
)


def steps(rows: list[tuple[int, str, int, int]]) -> EventBatch:
    """Eight mappings of three processes, and what happens to them."""
    events: list[Row] = [attach()]
    for alloc in range(1, 9):
        events.append(row(0, Kind.PROCESS, task=100 + alloc % 3, alloc=0, name=f"app{alloc % 3}"))
        events.append(
            row(0, Kind.MMAP if alloc % 2 else Kind.ALLOC, 2, alloc=alloc, task=100 + alloc % 3, name="binder")
        )
    for i, (alloc, what, page, task) in enumerate(rows):
        events += _ACTIONS[what](10 + 10 * i, page, alloc, task)
    return from_rows(events)


@pytest.mark.slow
@given(_STEPS, st.integers(0, 3))
def test_any_events_folded_say_the_same(rows: list[tuple[int, str, int, int]], most: int) -> None:
    events = steps(rows)
    check_folded(observed(events), observed(events, most_released=most))


@given(_STEPS, st.integers(0, 3), st.lists(st.integers(0, 80), max_size=5))
def test_folding_does_not_depend_on_batches(rows: list[tuple[int, str, int, int]], most: int, cuts: list[int]) -> None:
    events = steps(rows)
    edges = [0, *sorted(min(c, len(events)) for c in cuts), len(events)]
    observation = Observation(META, most_released=most)
    for a, b in pairwise(edges):
        observation.feed(events.slice(a, b))
        summarize(observation)  # looking at it changes nothing
    assert summarize(observation) == observed(events, most_released=most)


def short(n: int, *, pid: int = 0, comm: str = "app", size: int = 1) -> list[Row]:
    """A mapping that is made, used and gone."""
    ts, pid = 1000 * n, pid or 100 + n
    return [
        row(ts, Kind.PROCESS, alloc=n, task=pid, name=comm), mapped(62, ts=ts, alloc=n, owner=pid),
        *(r for page in range(size) for r in install(ts + 10 + 5 * page, page, alloc=n, task=7)),
        park(ts + 500, 0, alloc=n), *release(ts + 600 + n % 7, alloc=n),
    ]  # fmt: skip


def test_durations_of_a_row_are_those_of_its_mappings() -> None:
    report = observed(batch(attach(), *(short(n, size=1 + n % 3) for n in range(1, 40))), most_released=0)
    (p,) = report.processes
    assert p.mappings == 39
    o = report.overall
    assert (p.lifetime, p.active_span, p.idle_span, p.install_latency) == (
        o.lifetime, o.active_span, o.idle_span, o.install_latency
    )  # fmt: skip
    assert p.lifetime is not None
    assert p.lifetime.n == p.state.installs == sum(1 + n % 3 for n in range(1, 40))
    assert [(s.pid, s.installs) for s in p.senders] == [(7, p.state.installs)]


def test_the_last_ones_stay() -> None:
    report = observed(batch(attach(), *(short(n) for n in range(1, 40))), most_released=5)
    assert sorted(p.state.alloc for p in report.processes) == [0, *range(35, 40)]
    assert sorted(p.mappings for p in report.processes) == [1, 1, 1, 1, 1, 34]


def test_names_beyond_a_number_share_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(released, "MOST_NAMES", 3)
    rows = batch(attach(), *(short(n, comm=f"app{n}") for n in range(1, 11)))
    report = observed(rows, most_released=0)
    assert [(p.state.comm, p.mappings) for p in report.processes] == [(None, 7), *((f"app{n}", 1) for n in (1, 2, 3))]
    assert sum(p.state.installs for p in report.processes) == 10


@pytest.mark.slow
def test_what_people_read_tells_folded_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = batch(attach(), mapped(62, alloc=99), *(short(n) for n in range(1, 41)), row(10**6, Kind.DETACH, alloc=0))
    report = observed(rows, most_released=3)
    text = io.StringIO()
    terminal.write(report, text)
    assert "\n37x app" in text.getvalue()
    assert "binder (gone)" in text.getvalue()
    assert "37x" in notebook.render(report)
    monkeypatch.setattr(history, "Observation", partial(Observation, most_released=3))
    whole = history.collect(META, [rows])
    assert whole.report.to_dict() == report.to_dict()
    assert len(whole.allocs) == 41
    assert "37x" in html.render(whole)
    frame = advance(None, report, {}, 10**6)
    assert sorted(r.process.state.alloc for r in frame.rows) == [38, 39, 40, 99]


def test_counters_do_not_fall_when_a_mapping_goes_and_is_folded_between_two_looks() -> None:
    observation = Observation(META, most_released=0)
    ledger = Ledger(10)
    named = row(0, Kind.PROCESS, alloc=0, task=100, name="alpha")
    observation.feed(batch(attach(), named, mapped(), mapped(alloc=2), install(1), install(5, 1), install(9, alloc=2)))
    ledger.take(summarize(observation), observation.tracker.end_ns)
    observation.feed(batch(install(20, 2), release(30)))
    report = summarize(observation)
    alpha, other = ledger.take(report, observation.tracker.end_ns)
    assert (alpha.key, alpha.counts[0], other.counts[0]) == (("100", "alpha", "binder"), 3, 1)
    assert sum(p.state.installs for p in report.processes) == 4


def test_a_pid_that_is_used_again_has_its_own_name() -> None:
    rows = [
        row(0, Kind.PROCESS, alloc=1, task=100, name="first"), mapped(), *install(1),
        # the next process with that pid, before what the first had is released
        row(10, Kind.PROCESS, alloc=2, task=100, name="second"), mapped(ts=10, alloc=2), *install(11, alloc=2),
        *release(20), row(30, Kind.PROCESS, alloc=0, task=100, name="renamed"),
    ]  # fmt: skip
    for edges in ([0, len(rows)], [0, 4, 8, len(rows)], range(len(rows) + 1)):
        tracker = PageTracker()
        done = [tracker.update(from_rows(rows[a:b])) for a, b in pairwise(edges)]
        assert [(s.alloc, s.pid, s.comm) for s in all_states(tracker, *done)] == [
            (1, 100, "first"),
            (2, 100, "renamed"),
        ]


@pytest.mark.slow
def test_names_of_tasks_are_bounded() -> None:
    tracker = PageTracker()
    tracker.update(batch(attach(), row(1, Kind.PROCESS, alloc=1, task=1, name="owner"), mapped(owner=1)))
    for first in range(2, 3 * MAX_COMMS, MAX_COMMS // 2):
        rows = [row(2, Kind.PROCESS, alloc=0, task=first + i, name="task") for i in range(MAX_COMMS // 2)]
        tracker.update(from_rows(rows))
        assert len(tracker.comms) <= MAX_COMMS
    assert tracker.comms[first + MAX_COMMS // 2 - 1] == "task"
    (state,) = tracker.allocs()
    assert state.comm == "owner"


def test_senders_that_send_little_are_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that lives, and processes that each send to it once; some send more."""
    events: list[Row] = [attach(), mapped(62)]
    for n in range(1, 5001):
        task = 10_000 + n if n % 5 else 1 + n % 4
        events += [*install(100 * n, task=task), park(100 * n + 10 + n % 5), reclaim(100 * n + 20)]
    whole = observed(from_rows(events))
    monkeypatch.setattr(totals, "MANY_SENDERS", 1024)
    observation = Observation(META)
    for a, b in pairwise([*range(0, len(events), 1000), len(events)]):
        observation.feed(from_rows(events[a:b]))
    report = summarize(observation)
    assert len(observation._totals._senders.table) <= 4096
    (p,), (q,) = report.processes, whole.processes
    assert p.senders[:4] == q.senders[:4]
    assert p.busiest == q.busiest
    assert q.sending_processes == 4004
    assert 4004 <= p.sending_processes < 4014  # one that is met again counts again
    assert (report.overall, report.reclaimers) == (whole.overall, whole.reclaimers)


def test_reclaimers_that_take_little_are_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reclaims, "MOST_RECLAIMERS", 4)
    observation = Observation(META)
    observation.feed(batch(attach(), mapped()))
    for n in range(200):
        task = 1 + n % 3 if n % 2 else 1000 + n
        taken = row(100 * n + 30, Kind.UNMAP_KERNEL_START, task=task)
        observation.feed(batch(install(100 * n + 10), park(100 * n + 20), taken))
    found = {r.pid: r.reclaims for r in summarize(observation).reclaimers}
    assert sum(found.values()) == 200
    assert len(found) <= 10
    assert [found[task] for task in (1, 2, 3)] == [sum(n % 2 and n % 3 == i for n in range(200)) for i in range(3)]


def lives_of(mappings: int, first: int) -> EventBatch:
    """`mappings` of `short()`, by one template, for there are many."""
    template = from_rows(short(0, pid=1))
    parts = {c: np.tile(getattr(template, c), mappings) for c in COLUMNS}
    number = np.repeat(np.arange(first, first + mappings), len(template))
    parts["ts_ns"] = parts["ts_ns"] + 1000 * number
    parts["alloc"] = number.astype(np.uint32)
    owner = 10_000 + number % 5000
    parts["tgid"] = np.where(parts["tgid"] == 1, owner, parts["tgid"]).astype(np.uint32)
    names = {
        row + i * len(template): name if name == "binder" else f"app{(first + i) % 30}"
        for i in range(mappings)
        for row, name in template.names.items()
    }
    return EventBatch(**parts, names=names)


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.slow
def test_memory_is_flat_over_a_hundred_thousand_mappings() -> None:
    observation = Observation(META)
    observation.feed(batch(attach(), mapped(62, alloc=1)))
    each, last = 2000, 100_000
    held = []
    for first in range(2, last, each):
        observation.feed(lives_of(each, first))
        if first % (10 * each) == 2:
            summarize(observation)
        if first // each in (last // each // 3, last // each - 1):
            held.append(resident_bytes())
    report = summarize(observation)
    assert sum(p.mappings for p in report.processes) == last + 1
    assert sum(p.state.installs for p in report.processes) == last
    assert len(report.processes) == 1 + released.MOST_RELEASED + 30
    early, late = held
    assert late < 1.1 * early  # each that is kept costs some kilobytes


@pytest.mark.slow
def test_the_report_grows_with_live_mappings_only() -> None:
    observation = Observation(META)
    observation.feed(concat([batch(attach()), lives_of(20_000, 2)]))
    report = summarize(observation)
    assert len(report.processes) == released.MOST_RELEASED + 30
    assert len(observation._totals.counts().durations[0]) == 0


@pytest.mark.checkout
def test_the_documentation_tells_the_bounds() -> None:
    text = (Path(__file__).parents[1] / "docs" / "report.md").read_text()
    for bound in (
        released.MOST_RELEASED, released.MOST_NAMES, totals.MANY_SENDERS, totals.LISTED_SENDERS,
        2 * reclaims.MOST_RECLAIMERS,
    ):  # fmt: skip
        assert f" {bound:,} " in text
    assert f"last {MAX_COMMS:,}" in (Path(__file__).parents[1] / "docs" / "probes.md").read_text()

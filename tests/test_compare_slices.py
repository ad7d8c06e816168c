"""Sums over slices and durations, against a model that keeps one page at a time in mind, and against the report."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import binder_observe as bo
from binder_observe.comparison.metrics import DURATIONS, METRICS, PROBABILITIES, SUMS
from binder_observe.comparison.resampling import quantiles
from binder_observe.comparison.slices import Group, Slices, duration_bins, name_of
from binder_observe.events import Kind
from binder_observe.history import History, collect
from binder_observe.lifetimes.durations import duration_bin
from tests.build import META, Row, attach, batch, found, install, mapped, park, reclaim, reuse, row

SLICES = 5
END = 10_000  # ns; slices of 2,000
MOVES = {"free": ("install",), "active": ("park",), "lru": ("reuse", "reclaim")}
LEADS_TO = {"install": "active", "park": "lru", "reuse": "active", "reclaim": "free"}
PAGES = 4
MAKE: dict[str, Callable[[int, int], Row | list[Row]]] = {
    "install": install, "park": park, "reuse": reuse, "reclaim": reclaim,
}  # fmt: skip


def history(*rows: Row | list[Row]) -> History:
    return collect(META, [batch(*rows)])


def summed(group: Group, name: str) -> list[float]:
    return [float(x) for x in group.sums[SUMS.index(name)]]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 900), st.integers(0, PAGES - 1), st.integers(0, 1)), max_size=60))
def test_sums_are_those_of_a_page_by_page_model(steps: list[tuple[int, int, int]]) -> None:
    events: list[Row | list[Row]] = [attach(), mapped(PAGES)]
    expected = {name: [0.0] * SLICES for name in SUMS}
    state, since, by = ["free"] * PAGES, [0] * PAGES, [""] * PAGES
    levels: list[tuple[int, int]] = []  # time, change of the number of active pages
    now = 0

    def leave(page: int, until: int) -> None:
        at = min(since[page] * SLICES // END, SLICES - 1)
        if state[page] != "free":
            expected[f"{state[page]}_s"][at] += (until - since[page]) / 1e9

    for wait, page, which in steps:
        if now + wait + 1 >= END:
            break
        now += wait
        move = MOVES[state[page]][which % len(MOVES[state[page]])]
        events.append(MAKE[move](now, page))
        at_ns = now + (move == "install")  # it is in place one ns after its attempt began
        now = at_ns
        if move == "install" and by[page] == "reclaim":
            expected["refaults"][since[page] * SLICES // END] += 1
        leave(page, at_ns)
        expected[f"{move}s"][at_ns * SLICES // END] += 1
        levels.append((at_ns, (LEADS_TO[move] == "active") - (state[page] == "active")))
        state[page], since[page], by[page] = LEADS_TO[move], at_ns, move
    for page in range(PAGES):
        leave(page, END)
    h = history(*events, row(END, Kind.DETACH, alloc=0))
    group = Slices(h, SLICES).group()
    expected["seconds"] = [END / 1e9 / SLICES] * SLICES
    expected["attempts"] = expected["installs"]
    expected["leaves"] = [a + b for a, b in zip(expected["reuses"], expected["reclaims"], strict=True)]
    expected["held_s"] = [a + b for a, b in zip(expected["active_s"], expected["lru_s"], strict=True)]
    for name in SUMS:
        assert summed(group, name) == pytest.approx(expected[name]), name
    assert group.single["active_pages_max"] == max(np.cumsum([0, *(change for _, change in levels)]))


@pytest.fixture(scope="module")
def storm() -> History:
    return bo.simulate("racing-installers", duration_s=0.15, seed=4).history


def test_totals_are_those_of_the_report(storm: History) -> None:
    group = Slices(storm, 20).group()
    total = dict(zip(SUMS, group.sums.sum(axis=1), strict=True))
    states = storm.allocs
    for name, column in (
        ("installs", "installs"), ("duplicates", "duplicate_installs"), ("failures", "failed_installs"),
        ("parks", "parks"), ("reuses", "reuses"), ("reclaims", "reclaims"), ("refaults", "refaults"),
    ):  # fmt: skip
        assert total[name] == sum(getattr(a, column) for a in states), name
        assert total[name] or name == "failures"
    assert total["active_s"] == pytest.approx(sum(a.active_ns for a in states) / 1e9)
    assert total["lru_s"] == pytest.approx(sum(a.lru_ns for a in states) / 1e9)
    assert group.single["metadata_bytes_before"] == pytest.approx(storm.report.metadata.before.mean, abs=1)
    assert group.single["metadata_bytes"] == pytest.approx(storm.report.metadata.after.mean, abs=1)
    assert group.single["touched_pages"] == sum(a.touched for a in states)


def test_quantiles_are_those_of_the_report(storm: History) -> None:
    group = Slices(storm, 20).group()
    compared = 0
    for duration in DURATIONS:
        reported = getattr(storm.report.overall, duration)
        values, _ = quantiles(group.durations[duration], tuple(PROBABILITIES.values()), seed=0)
        for value, name in zip(values, PROBABILITIES, strict=True):
            known = None if reported is None else getattr(reported, name)
            assert (None if not np.isfinite(value) else value) == known, (duration, name)
            compared += known is not None
    assert compared > 10


def test_groups_add_up(storm: History) -> None:
    sliced = Slices(storm, 20)
    parts = sum(sliced.group(name).sums for name in sliced.names())
    seconds = SUMS.index("seconds")
    whole = sliced.group().sums
    assert np.delete(parts, seconds, axis=0) == pytest.approx(np.delete(whole, seconds, axis=0))
    one = {a.alloc for a in storm.allocs if a.comm == "server"}
    (server,) = [name for name in sliced.names() if name[0] == "server"]
    assert (Slices(storm, 20, one).group().sums == sliced.group(server).sums).all()
    assert {name_of(a) for a in storm.allocs} == set(sliced.names())


def test_a_page_from_before_is_one_observation_in_the_first_slice() -> None:
    h = history(attach(), found(), row(0, Kind.SNAPSHOT_LRU, 1), park(5, 0), row(100, Kind.DETACH, alloc=0))
    group = Slices(h, 4).group()
    assert summed(group, "lru_s") == pytest.approx([195e-9, 0, 0, 0])
    assert summed(group, "parks") == [1, 0, 0, 0]
    assert not group.durations["active_span"].bins.size  # it was active before: its beginning was not seen
    assert group.durations["idle_span"].censored.sum() == 1


def test_duplicates_and_failures_are_booked_where_they_ended() -> None:
    h = history(
        attach(), mapped(), install(10, 0, task=200), install(60, 0, task=201),
        row(20, Kind.ALLOC_PAGE_START, 1, task=202), install(90, 2, task=202), row(100, Kind.DETACH, alloc=0),
    )  # fmt: skip
    group = Slices(h, 2).group()
    assert summed(group, "duplicates") == [0, 1]
    assert summed(group, "failures") == [0, 1]  # known when its task went on to something else
    assert summed(group, "attempts") == [1, 3]
    assert group.durations["install_latency"].ended.sum() == 3


@given(st.lists(st.integers(0, 2**50), max_size=30))
def test_bins_are_the_report_s(durations: list[int]) -> None:
    assert list(duration_bins(np.array(durations, dtype=np.int64))) == [duration_bin(d) for d in durations]


def test_every_metric_is_made_of_something_known() -> None:
    assert len({m.name for m in METRICS}) == len(METRICS)
    single = Slices(history(attach(), mapped(), row(9, Kind.DETACH, alloc=0)), 2).group().single
    for m in METRICS:
        assert (m.over is not None) + (m.duration is not None) + (m.name in single) == 1, m.name
        assert m.over is None or set(m.over) <= set(SUMS)
        assert m.duration is None or m.duration in DURATIONS

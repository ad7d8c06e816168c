"""Series of mappings: bounded, and never going down, whatever comes and goes."""

from __future__ import annotations

from collections.abc import Iterator

from binder_observe.analysis.summary import summarize
from binder_observe.events import EventBatch
from binder_observe.exporter.ledger import OTHER, Key, Ledger, Series
from binder_observe.observation import Observation
from binder_observe.simulator.scenarios import parse_scenario
from binder_observe.sources import Source
from binder_observe.sources.simulator import SimulatorSource
from tests.build import META, Row, attach, batch, install, mapped, park, reclaim, release, reuse
from tests.top.build import named

SHORT_LIVED = """
description = "Hundreds of processes that come and go"
duration_s = 1.5
[[process]]
name = "server"
[[process]]
name = "client"
count = 60
life_s = { exponential = 0.15 }
respawn_s = { exponential = 0.05 }
[[traffic]]
from = "client"
to = "server"
interval_us = { exponential = 20000 }
data_bytes = { lognormal = [3000, 1.0] }
[[traffic]]
from = "server"
to = "client"
kind = "oneway"
interval_us = { exponential = 2000 }
data_bytes = { lognormal = [5000, 1.0] }
[[reclaim]]
interval_ms = 300
"""


def short_lived() -> SimulatorSource:
    return SimulatorSource(parse_scenario(SHORT_LIVED, "test"), seed=5)


class Slices:
    """A source in small batches, so that there are many looks at it."""

    def __init__(self, source: Source, rows: int) -> None:
        self.source, self.rows = source, rows
        self.meta = source.meta

    def batches(self) -> Iterator[EventBatch]:
        for part in self.source.batches():
            for start in range(0, len(part), self.rows):
                yield part.slice(start, min(start + self.rows, len(part)))

    def stop(self) -> None:
        self.source.stop()

    def close(self) -> None:
        self.source.close()


def test_sums_are_the_totals_and_never_fall_under_churn() -> None:
    observation = Observation(META)
    ledgers = {most: Ledger(most) for most in (0, 3, 1000)}
    before: dict[int, dict[Key, Series]] = {most: {} for most in ledgers}
    seen: dict[int, set[Key]] = {most: set() for most in ledgers}
    looks = 0
    for part in Slices(short_lived(), 2000).batches():
        observation.feed(part)
        report = summarize(observation)
        states = [p.state for p in report.processes]
        live = {(str(s.pid), s.comm, s.context) for s in states if not s.released}
        totals = {
            0: sum(s.installs for s in states), 3: sum(s.parks for s in states), 4: sum(s.reuses for s in states),
            5: sum(s.reclaims for s in states), 7: sum(s.active_ns for s in states), 8: sum(s.lru_ns for s in states),
        }  # fmt: skip
        held = sum(s.active + s.lru for s in states if not s.released)
        for most, ledger in ledgers.items():
            series = {s.key: s for s in ledger.take(report, observation.tracker.end_ns)}
            assert set(series) - {OTHER} <= live
            assert len(series) == min(most, len(live)) + 1
            assert {i: sum(s.counts[i] for s in series.values()) for i in totals} == totals
            assert sum(s.active + s.lru for s in series.values()) == held
            for key in before[most].keys() & series.keys():
                earlier = before[most][key].counts
                assert all(a <= b for a, b in zip(earlier, series[key].counts, strict=True)), key
            before[most] = series
            seen[most] |= set(series)
        looks += 1
    assert len(report.processes) > 300
    assert sum(p.state.reclaims for p in report.processes) > 0
    assert looks > 10
    assert len(seen[0]) == 1 < len(seen[3]) <= len(seen[1000])


class Looks:
    """An observation, and the series at each look."""

    def __init__(self, most: int = 100) -> None:
        self.observation = Observation(META)
        self.ledger = Ledger(most)

    def look(self, *rows: Row | list[Row], later_ns: int = 0) -> dict[Key, Series]:
        self.observation.feed(batch(*rows))
        series = self.ledger.take(summarize(self.observation), self.observation.tracker.end_ns + later_ns)
        return {s.key: s for s in series}


A, B = ("100", "alpha", "binder"), ("101", "beta", "binder")


def installs(series: dict[Key, Series]) -> dict[Key, int]:
    return {key: s.counts[0] for key, s in series.items()}


def test_a_pid_that_is_used_again() -> None:
    looks = Looks()
    first = looks.look(attach(), named(100, "alpha"), mapped(), install(1, 0), install(3, 1), install(5, 2))
    assert installs(first) == {A: 3, OTHER: 0}
    # gone and back between two looks: added, so that it does not fall
    again = looks.look(release(10), mapped(ts=20, alloc=2), install(21, 0, alloc=2))
    assert installs(again) == {A: 4, OTHER: 0}
    assert (again[A].active, again[A].mapping_pages) == (1, 4)
    gone = looks.look(release(30, alloc=2))
    assert installs(gone) == {OTHER: 4}
    back = looks.look(mapped(ts=40, alloc=3), install(41, 0, alloc=3))
    assert installs(back) == {A: 1, OTHER: 4}


def test_born_and_gone_between_two_looks() -> None:
    looks = Looks()
    looks.look(attach(), named(100, "alpha"))
    assert installs(looks.look(mapped(ts=1), install(2), release(5))) == {OTHER: 1}


def test_two_mappings_of_one_process_in_one_context_are_summed() -> None:
    looks = Looks()
    series = looks.look(
        attach(), named(100, "alpha"), mapped(4), mapped(8, alloc=2), install(1), install(3, 1, alloc=2), park(5)
    )
    assert set(series) == {A, OTHER}
    s = series[A]
    assert (s.active, s.lru, s.free, s.mapping_pages, s.counts[0], s.counts[3]) == (1, 1, 10, 12, 2, 1)
    one_left = looks.look(release(10))
    assert installs(one_left) == {A: 2, OTHER: 0}
    assert one_left[A].mapping_pages == 8


def test_the_largest_are_shown_and_a_little_more_does_not_displace_them() -> None:
    looks = Looks(most=1)
    two = [named(100, "alpha"), named(101, "beta"), mapped(16), mapped(16, alloc=2, owner=101)]
    first = looks.look(attach(), *two, *(install(1 + 2 * i, i) for i in range(8)), install(20, 0, alloc=2))
    assert installs(first) == {A: 8, OTHER: 1}
    nearly = looks.look(*(install(30 + 2 * i, 1 + i, alloc=2) for i in range(9)))
    assert installs(nearly) == {A: 8, OTHER: 10}
    more = looks.look(install(60, 10, alloc=2))
    assert installs(more) == {B: 1, OTHER: 18}  # what it had counted in other stays there
    assert (more[OTHER].active, more[B].active) == (8, 11)
    back = looks.look(*(install(70 + 2 * i, 8 + i) for i in range(8)))
    assert installs(back) == {A: 8, OTHER: 19}
    assert back[OTHER].active == 11


def test_a_process_that_is_renamed_gets_new_series() -> None:
    looks = Looks()
    looks.look(attach(), named(100, "alpha"), mapped(), install(1))
    renamed = looks.look(named(100, "omega"), install(5, 1))
    assert installs(renamed) == {("100", "omega", "binder"): 2, OTHER: 0}


def test_an_attempt_that_ends_late_takes_nothing_back() -> None:
    looks = Looks()
    start, end = install(1)
    late = 3_000_000_000
    looks.look(attach(), named(100, "alpha"), mapped(), start)
    assert looks.look(install(late, 1, task=201))[A].counts[2] == 1  # open for so long, it counts as failed
    done = looks.look((late + 5, *end[1:]))
    assert (done[A].counts[0], done[A].counts[2]) == (2, 1)
    assert looks.look(release(late + 10))[OTHER].counts[2] == 1
    assert looks.look()[OTHER].counts[2] == 1  # although the report says 0


def test_page_seconds_go_on_between_events() -> None:
    looks = Looks()
    rows: list[Row | list[Row]] = [attach(), named(100, "alpha"), mapped(), install(1), install(1, 1)]
    rows += [park(2), reuse(5), park(7)]
    now = looks.look(*rows)[A].counts
    later = looks.look(later_ns=100)[A].counts
    assert (later[7] - now[7], later[8] - now[8]) == (100, 100)
    # and an event of that time, read late, takes nothing back
    after = looks.look(reclaim(8))[A].counts
    assert all(x >= y for x, y in zip(after, later, strict=True))

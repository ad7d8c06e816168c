"""Reclaims, bursts and pages that stay parked: against the definition on small recordings, against what the simulator's
shrinker really did on large ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch
from binder_observe.frames.reclaim import df_parked_under_reclaim, df_passed_over, df_reclaim_bursts, df_reclaims
from binder_observe.history import History, collect
from binder_observe.simulator import pages, shrinker, vmscan
from binder_observe.simulator.kernel import Kernel
from binder_observe.simulator.list_lru import ListHead, LruStatus
from binder_observe.simulator.memory import BinderShrinkerMdata
from binder_observe.simulator.scheduler import Steps
from binder_observe.sources.simulator import SimulatorSource
from tests.build import (
    META,
    SENDER,
    SHRINKER,
    attach,
    batch,
    found,
    install,
    mapped,
    park,
    reclaim,
    release,
    reuse,
    row,
)
from tests.frames.brute import Replay, Span, replay
from tests.frames.cells import KEYS, by, dtypes
from tests.frames.recordings import histories
from tests.frames.tables import key, rows

pytestmark = pytest.mark.slow

GAPS = st.sampled_from([0, 1, 7, 1_000, 10_000_000, 1_000_000_000])


def reclaims(done: Replay) -> list[Span]:
    taken = [s for s in done.spans if s.state == "lru" and s.ended == "unmap_kernel_start"]
    return sorted(taken, key=lambda s: (s.until_ns, s.alloc, s.page))


def bursts(taken: list[Span], gap_ns: int) -> list[list[Span]]:
    found: list[list[Span]] = []
    for span in taken:
        if found and span.until_ns - found[-1][-1].until_ns <= gap_ns:
            found[-1].append(span)
        else:
            found.append([span])
    return found


def how(done: Replay, taken: Span) -> str:
    assert taken.ender is not None
    if done.comms.get(taken.ender, "").startswith("kswapd"):
        return "kswapd"
    for attempt in done.attempts:
        start_ns = attempt.start_ns
        if attempt.tgid == taken.ender and start_ns is not None and start_ns < taken.until_ns < attempt.end_ns:
            return "direct"
    return "other"


def by_reclaimer(h: History) -> list[tuple[str, int, int]]:
    """In the report's order."""
    counts = Counter(rows(df_reclaims(h), "how", "reclaimer_pid"))
    return sorted(((how, pid, n) for (how, pid), n in counts.items()), key=lambda r: (-r[2], r[1], r[0]))


@settings(max_examples=80)
@given(histories(), GAPS)
def test_reclaims_and_bursts_against_the_definition(case: tuple[EventBatch, History], gap_ns: int) -> None:
    events, h = case
    done = replay(events)
    expected = [
        (
            *key(done, s.alloc), s.page, s.until_ns, s.ender, how(done, s),
            s.until_ns - s.since_ns if s.began == "free_lru_start" else None, number,
        )
        for number, burst in enumerate(bursts(reclaims(done), gap_ns))
        for s in burst
    ]  # fmt: skip
    frame = df_reclaims(h, gap_ns)
    assert rows(frame, *KEYS, "page", "ts_ns", "reclaimer_pid", "how", "idle_ns", "burst") == expected
    assert rows(frame, "reclaimer_comm") == [(done.comms.get(e[6] or 0),) for e in expected]

    assert [(r.how, r.pid, r.reclaims) for r in h.report.reclaimers] == by_reclaimer(h)

    in_bursts = []
    for number, burst in enumerate(bursts(reclaims(done), gap_ns)):
        kinds = {how(done, s) for s in burst}
        in_bursts.append(
            (
                number, burst[0].until_ns, burst[-1].until_ns, len(burst), len({s.ender for s in burst}),
                len({s.alloc for s in burst}), kinds.pop() if len(kinds) == 1 else "mixed",
            )
        )  # fmt: skip
    assert rows(df_reclaim_bursts(h, gap_ns)) == in_bursts


def survived(stay: Span, found: list[list[Span]]) -> int:
    return sum(
        stay.until_ns > burst[-1].until_ns
        and any(s.began == "free_lru_start" and s.since_ns > stay.since_ns for s in burst)
        for burst in found
    )


@settings(max_examples=80)
@given(histories(), GAPS)
def test_passed_over_against_the_definition(case: tuple[EventBatch, History], gap_ns: int) -> None:
    events, h = case
    done = replay(events)
    found = bursts(reclaims(done), gap_ns)
    words = {"alloc_lru_start": "reused", "unmap_kernel_start": "reclaimed", "release_end": "released",
             "detach": "still_idle", "lost": "lost"}  # fmt: skip
    stays = [(s, survived(s, found)) for s in done.spans if s.state == "lru"]
    stays = sorted(((s, n) for s, n in stays if n), key=lambda c: (-c[1], c[0].since_ns, c[0].alloc, c[0].page))
    columns = ["alloc", "page", "since_ns", "until_ns", "idle_ns", "ended", "bursts_survived"]
    assert rows(df_passed_over(h, gap_ns), *columns) == [
        (s.alloc, s.page, s.since_ns, s.until_ns, s.until_ns - s.since_ns, words[s.ended], n) for s, n in stays
    ]
    frame = df_parked_under_reclaim(h, gap_ns)
    assert sorted(rows(frame, *KEYS)) == sorted(key(done, alloc) for alloc in done.mappings)
    for got in by(frame, "alloc").values():
        own = [(s, n) for s, n in stays if s.alloc == got["alloc"]]
        assert got["parked_pages"] == len({s.page for s, _ in own})
        assert got["still_parked"] == sum(s.ended == "detach" for s, _ in own)
        assert got["bursts_survived"] == max([n for _, n in own], default=0)
        assert got["longest_idle_ns"] == max([s.until_ns - s.since_ns for s, _ in own], default=None)


def test_by_hand() -> None:
    """Page 0 is older than page 1, and stays when 1 is taken, twice; page 2 is younger; of alloc 2 no park was seen."""
    ms = 1_000_000
    events = batch(
        attach(), mapped(), row(0, 26, alloc=0, task=SHRINKER, name="kswapd0"),
        install(1, 0), install(3, 1), install(5, 2), park(10, 0), park(11, 1), park(12, 2),
        found(2, ts=13, alloc=2),
        reclaim(10 * ms, 1), reclaim(20 * ms, 0, alloc=2), install(21 * ms, 1), park(22 * ms, 1),
        reclaim(40 * ms, 1), reuse(50 * ms, 0), row(60 * ms, 32, alloc=0),
    )  # fmt: skip
    h = collect(META, [events])
    assert df_reclaims(h)["burst"].tolist() == [0, 0, 1]  # 10 ms after the one before is the same burst
    assert rows(df_reclaim_bursts(h), "begin_ns", "end_ns", "pages", "mappings", "how") == [
        (10 * ms, 20 * ms, 2, 2, "kswapd"), (40 * ms, 40 * ms, 1, 1, "kswapd"),
    ]  # fmt: skip
    assert rows(df_passed_over(h), "alloc", "page", "bursts_survived", "ended") == [
        (1, 0, 2, "reused"), (1, 2, 1, "still_idle"),
    ]  # fmt: skip
    columns = ("alloc", "parked_pages", "still_parked", "bursts_survived", "longest_idle_ns")
    assert rows(df_parked_under_reclaim(h), *columns) == [(1, 2, 1, 2, 60 * ms - 12), (2, 0, 0, 0, None)]


def test_parked_at_one_time() -> None:
    """Nobody can tell which of the two is older."""
    events = batch(
        attach(), mapped(), install(1, 0), install(3, 1), park(10, 0), park(10, 1), reclaim(20, 1), reuse(30, 0)
    )  # fmt: skip
    assert len(df_passed_over(collect(META, [events]))) == 0


def test_a_burst_of_two_kinds() -> None:
    events = batch(
        attach(), mapped(), row(0, 26, alloc=0, task=SHRINKER, name="kswapd0"), install(1, 0), install(3, 1),
        park(10, 0), park(11, 1), reclaim(20, 0), row(30, 7, 1, task=SENDER),
    )  # fmt: skip
    columns = ("pages", "reclaimers", "mappings", "how")
    assert rows(df_reclaim_bursts(collect(META, [events])), *columns) == [(2, 2, 1, "mixed")]


class Shrinks:
    """What the shrinker of the model did, written down by its own callback."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.skipped: dict[tuple[int, int], list[int]] = defaultdict(list)  # times of LRU_SKIP, by alloc and page
        self.direct: dict[tuple[int, int], list[bool]] = defaultdict(list)  # taken by whoever waits for an install
        self._waiting: set[int] = set()  # tids
        self._callback = shrinker.binder_alloc_free_page
        self._reclaim = vmscan.try_to_free_pages
        patch.setattr(shrinker, "binder_alloc_free_page", self.callback)
        patch.setattr(pages, "try_to_free_pages", self.reclaim)

    def callback(self, item: ListHead) -> Steps[LruStatus]:
        assert isinstance(item, BinderShrinkerMdata)
        trace = item.alloc.kernel.trace
        page, tid = (item.alloc.number, item.page_index), trace.current.tid
        status = yield from self._callback(item)
        if status is LruStatus.LRU_SKIP:
            self.skipped[page].append(trace.now)
        else:
            self.direct[page].append(tid in self._waiting)
        return status

    def reclaim(self, kernel: Kernel) -> Steps[int]:
        """As binder_page_alloc() calls it."""
        tid = kernel.trace.current.tid
        self._waiting.add(tid)
        freed = yield from self._reclaim(kernel)
        self._waiting.remove(tid)
        return freed


@pytest.mark.parametrize("scenario", ["memory-pressure", "out-of-memory", "reclaim-storm"])
def test_reclaims_are_the_simulators(scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shrinks = Shrinks(monkeypatch)
    source = SimulatorSource(scenario, duration_s=0.2 if scenario == "reclaim-storm" else 0.6, truth=True)
    h = collect(source.meta, source.batches())
    assert source.truth is not None
    frame = df_reclaims(h)
    lives = [life for life in source.truth.lives() if life.ended == "reclaimed"]
    assert sorted(zip(frame["ts_ns"], frame["alloc"], frame["page"], frame["idle_ns"], strict=True)) == sorted(
        (life.end_ns, life.alloc, life.page, (life.end_ns or 0) - life.spans[-1][1]) for life in lives
    )
    taken = frame.groupby("alloc").size()
    assert {p.state.alloc: p.state.reclaims for p in h.report.processes if p.state.reclaims} == taken.to_dict()

    of_page: dict[tuple[int, int], list[str]] = defaultdict(list)
    for alloc, page, kind in zip(frame["alloc"], frame["page"], frame["how"], strict=True):
        of_page[alloc, page].append(kind)
    really = [is_direct for page in sorted(of_page) for is_direct in shrinks.direct[page]]
    assert [kind == "direct" for page in sorted(of_page) for kind in of_page[page]] == really
    skipped = Counter[int]()
    for (alloc, _), times in shrinks.skipped.items():
        skipped[alloc] += len(times)
    assert {p.state.alloc: p.state.lru_skips.total for p in h.report.processes if p.state.lru_skips.total} == skipped
    assert any(really) == (scenario != "reclaim-storm")
    named = set(zip(frame["reclaimer_comm"], frame["how"], strict=True))
    assert {name for name, kind in named if kind == "kswapd"} <= {"kswapd0"}
    assert {name for name, kind in named if kind == "other"} <= {"camera", "hog", "sh"}
    assert [(r.how, r.pid, r.reclaims) for r in h.report.reclaimers] == by_reclaimer(h)
    assert df_reclaim_bursts(h)["pages"].sum() == len(frame)


@pytest.mark.parametrize("generation", ["6.1", "6.8", "6.14"])
def test_pages_passed_over_were_skipped(generation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stay has an LRU_SKIP for each burst that it is said to have survived."""
    shrinks = Shrinks(monkeypatch)
    source = SimulatorSource("reclaim-storm", duration_s=0.2, generation=generation, truth=True)
    h = collect(source.meta, source.batches())
    gap_ns = 5_000  # reclaim hardly pauses here
    end_ns = df_reclaim_bursts(h, gap_ns)["end_ns"].to_numpy()
    passed = df_passed_over(h, gap_ns)
    assert len(passed)
    columns = ["alloc", "page", "since_ns", "until_ns", "bursts_survived"]
    for alloc, page, since_ns, until_ns, n in rows(passed, *columns):
        skips = [ts for ts in shrinks.skipped[alloc, page] if since_ns < ts <= until_ns]
        assert len(set(np.searchsorted(end_ns, skips))) >= n

    # and none is missing: the definition once more, over the model's own lives
    assert source.truth is not None
    stays = [
        (life.alloc, life.page, since, until, until == life.end_ns and life.ended == "reclaimed")
        for life in source.truth.lives()
        for (state, since), until in zip(
            life.spans, [*(ts for _, ts in life.spans[1:]), h.end_ns if life.end_ns is None else life.end_ns],
            strict=True,
        )
        if state == "lru"
    ]  # fmt: skip
    since, until = (np.array([s[i] for s in stays]) for i in (2, 3))
    taken = np.array([s[4] for s in stays])
    count = np.zeros(len(stays), dtype=np.int64)
    begin = 0
    for end in end_ns.tolist():
        youngest = since[taken & (until > begin) & (until <= end)].max()
        count += (since < youngest) & (until > end)
        begin = end
    expected = {(*s[:4], n) for s, n in zip(stays, count.tolist(), strict=True) if n}
    assert set(rows(passed, *columns)) == expected


def test_nothing_at_all() -> None:
    empty = collect(META, [])
    full = collect(META, [batch(attach(), mapped(), install(1), park(3), reclaim(4), release(6))])
    for make in (df_reclaims, df_reclaim_bursts, df_passed_over, df_parked_under_reclaim):
        assert len(make(empty)) == 0
        assert dtypes(make(empty)) == dtypes(make(full))


def test_a_gap_below_nothing() -> None:
    with pytest.raises(ObserveError, match="0 or more"):
        df_reclaims(collect(META, []), -1)

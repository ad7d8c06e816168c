"""The simulator as a source: the contract of a Source, the same bytes for the same seed, time, and speed of nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from binder_observe.errors import ObserveError
from binder_observe.events import COLUMNS, EventBatch, Kind, concat
from binder_observe.simulator.scenarios import scenario_names
from binder_observe.sources import Source
from binder_observe.sources.simulator import BATCH_LOG, SimulatorSource
from tests.simulator.model import ALL


def run(scenario: str, seconds: float = 0.3, **options: Any) -> tuple[SimulatorSource, EventBatch]:
    source = SimulatorSource(scenario, duration_s=seconds, **options)
    return source, concat(source.batches())


def as_bytes(batch: EventBatch) -> bytes:
    return b"".join(getattr(batch, column).tobytes() for column in COLUMNS) + repr(batch.names).encode()


def test_is_a_source() -> None:
    source: Source = SimulatorSource("steady", seed=3, generation="6.8", page_size=16384)
    meta = source.meta
    assert (meta.source, meta.generation, meta.page_size) == ("simulated", "6.8", 16384)
    assert meta.kernel == "simulated 6.8"
    assert "--seed 3" in meta.command
    source.close()


@pytest.mark.parametrize("scenario", scenario_names())
def test_order_of_rows(scenario: str) -> None:
    """ATTACH first, DETACH last; each alloc is described before its events, and each process before it acts."""
    _, events = run(scenario, 0.4)
    kinds = events.kind.tolist()
    assert kinds[0] == Kind.ATTACH
    assert kinds[-1] == Kind.DETACH
    assert kinds.count(Kind.ATTACH) == kinds.count(Kind.DETACH) == 1
    assert (np.diff(events.ts_ns) >= 0).all()
    mapped: dict[int, int] = {}
    named = {0}
    for _, kind, alloc, page, _, tgid, _, name in events.rows():
        if kind is Kind.MMAP:
            assert alloc not in mapped
            assert name in ("binder", "hwbinder", "vndbinder")
            assert tgid in named
            mapped[alloc] = page
        elif kind is Kind.PROCESS:
            assert name
            named.add(tgid)
        elif kind <= Kind.RELEASE_END:
            assert page < mapped[alloc]
            assert tgid in named
    assert sorted(mapped) == list(range(1, len(mapped) + 1))


@pytest.mark.parametrize("scenario", ["racing-installers", "out-of-memory", "churn"])
@pytest.mark.parametrize("generation", ALL)
def test_same_seed_same_bytes(scenario: str, generation: Any) -> None:
    first = as_bytes(run(scenario, 0.1, seed=11, generation=generation)[1])
    assert first == as_bytes(run(scenario, 0.1, seed=11, generation=generation)[1])
    assert first != as_bytes(run(scenario, 0.1, seed=12, generation=generation)[1])


def test_truth_changes_nothing() -> None:
    assert as_bytes(run("reclaim-storm", 0.1)[1]) == as_bytes(run("reclaim-storm", 0.1, truth=True)[1])


def test_batches_are_of_bounded_size() -> None:
    sizes = [len(batch) for batch in SimulatorSource("reclaim-storm", duration_s=1.0).batches()]
    assert len(sizes) > 2
    assert max(sizes) < BATCH_LOG


def test_how_it_is_cut_into_batches_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = as_bytes(run("racing-installers", 0.05)[1])
    monkeypatch.setattr("binder_observe.sources.simulator.BATCH_LOG", 100)
    assert as_bytes(run("racing-installers", 0.05)[1]) == whole


def test_simulated_duration() -> None:
    source, events = run("steady", 0.5)
    assert events.ts_ns[-1] - events.ts_ns[0] == pytest.approx(0.5e9, rel=0.001)
    assert source.kernel.trace.now == events.ts_ns[-1] + 150


def test_stop() -> None:
    source = SimulatorSource("steady", duration_s=1e6)
    batches = []
    for batch in source.batches():
        batches.append(batch)
        if len(batches) == 2:
            source.stop()
    assert len(batches) == 3
    assert batches[-1].kind[-1] == Kind.DETACH


def test_real_time() -> None:
    began = time.monotonic()
    source = SimulatorSource("oneway-spam", duration_s=0.4, realtime=True)
    sizes = [len(batch) for batch in source.batches()]
    took = time.monotonic() - began
    assert took > 0.35
    assert len(sizes) >= 8, "a caller that refreshes a screen gets control back"


def test_page_size() -> None:
    for page_size, pages in ((None, 62), (4096, 254), (65536, 14)):
        source, events = run("pages-16k", 0.05, page_size=page_size)
        assert source.meta.page_size == (page_size or 16384)
        assert set(events.page[events.kind == Kind.MMAP].tolist()) == {pages}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generation": "5.10"}, "knows no generation '5.10'"),
        ({"page_size": 5000}, "page size of 5000"),
        ({"scenario": "nothing"}, "there is no scenario 'nothing': it must be one of app-launch"),
        ({"scenario": "nothing.toml"}, "cannot read the scenario nothing.toml: No such file"),
        ({"duration_s": -1.0}, "duration"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ObserveError, match=message):
        SimulatorSource(options.pop("scenario", "steady"), **options)


def test_own_scenario(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        description = "one call a millisecond"
        [[process]]
        name = "a"
        [[process]]
        name = "b"
        [[traffic]]
        from = "a"
        to = "b"
        """
    )
    source = SimulatorSource(path, duration_s=0.1)
    events = concat(source.batches())
    assert source.scenario.name == "mine"
    assert 60 < source.workload.outcomes["call"] < 100
    assert Kind.ALLOC_PAGE_END in events.kind

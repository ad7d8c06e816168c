"""Whole comparisons: of simulator runs whose difference is known, and of recordings with next to nothing in them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from math import inf
from pathlib import Path

import numpy as np
import pytest

import binder_observe as bo
from binder_observe.comparison import Comparison, compare_histories
from binder_observe.comparison.metrics import METRICS
from binder_observe.errors import ObserveError
from binder_observe.events import Kind
from binder_observe.history import History, collect
from binder_observe.sources import Generation
from tests.build import META, Row, attach, batch, found, install, mapped, park, reclaim, row

MS = 1_000_000
SHORT: dict[str, float] = {"steady": 1.2, "racing-installers": 0.2, "reclaim-storm": 0.25, "page-leak": 2.0}


@cache
def run(scenario: str, seed: int, kernel: Generation = "6.14") -> History:
    return bo.simulate(scenario, seed=seed, duration_s=SHORT[scenario], kernel=kernel).history


@cache
def racing() -> Comparison:
    return compare_histories(run("racing-installers", 0, "6.1"), run("racing-installers", 1, "6.14"))


def history(*rows: Row | list[Row]) -> History:
    return collect(META, [batch(*rows)])


@pytest.mark.parametrize(
    ("scenario", "seeds"),
    [("steady", (0, 1)), ("racing-installers", (0, 1)), ("racing-installers", (1, 2)), ("reclaim-storm", (0, 1)),
     ("page-leak", (0, 1))],
)  # fmt: skip
def test_two_runs_of_the_same_do_not_differ(scenario: str, seeds: tuple[int, int]) -> None:
    c = compare_histories(*(run(scenario, seed) for seed in seeds))
    assert [(d.metric.name, d.comm, d.a, d.b) for d in c.significant] == []
    assert sum(d.p is not None for d in c.differences) > 60


def test_a_recording_is_like_itself() -> None:
    c = compare_histories(run("racing-installers", 0), run("racing-installers", 0))
    assert any("same recording" in warning for warning in c.warnings)
    assert {d.verdict for d in c.differences} <= {"same", "unknown"}
    assert {d.ratio for d in c.differences} <= {1.0, None}
    # its intervals are those of two recordings, not of one that moves with itself
    low, high = c.overall("parks").ratio_ci or (None, None)
    assert low is not None
    assert high is not None
    assert low < 1 < high


def test_duplicate_installs_came_with_6_8() -> None:
    c = racing()
    duplicates = c.overall("duplicate_installs")
    assert duplicates.a == 0
    assert duplicates.change == inf
    assert duplicates.significant
    assert c.differences[0].metric.name.startswith("duplicate_")
    assert not c.overall("parks").significant
    assert not [w for w in c.warnings if "slice" not in w]  # another kernel is what one compares, no reason to warn


def test_a_leak_shows_in_active_pages(tmp_path: Path) -> None:
    toml = files("binder_observe.simulator").joinpath("scenarios/page-leak.toml").read_text()
    assert "leak = 0.01" in toml
    (tmp_path / "tight.toml").write_text(toml.replace("leak = 0.01", "leak = 0.0"))
    tight = bo.simulate(tmp_path / "tight.toml", seed=1, duration_s=SHORT["page-leak"]).history
    c = compare_histories(tight, run("page-leak", 0))
    active = c.overall("active_pages")
    assert active.significant
    assert active.ratio is not None
    assert active.ratio > 10
    assert active is c.differences[0]
    assert c.overall("idle_share").significant
    back = compare_histories(run("page-leak", 0), tight, name="leaky.service").overall("active_pages")
    assert back.significant
    assert back.ratio is not None
    assert back.ratio < 0.1


def test_the_patch_saves_metadata() -> None:
    c = compare_histories(run("steady", 0, "6.8"), run("steady", 1, "6.14"))
    metadata = c.overall("metadata_bytes")
    assert metadata.change is not None
    assert metadata.change < -0.4
    assert metadata.verdict == "untested"
    assert c.overall("metadata_bytes_before").a == metadata.a
    assert c.overall("metadata_bytes_after").b == metadata.b
    assert c.significant == ()


def test_a_longer_recording_is_cut_into_as_long_slices() -> None:
    long = bo.simulate("racing-installers", seed=3, duration_s=2.2 * SHORT["racing-installers"]).history
    c = compare_histories(run("racing-installers", 0), long, name="server")
    assert c.a.slices == 20
    assert c.b.duration_s / c.b.slices == pytest.approx(c.a.duration_s / c.a.slices, rel=0.02)
    assert any("B is 2.2 times as long" in w for w in c.warnings)
    assert not c.overall("parks").significant


def test_only_processes_of_a_name() -> None:
    a, b = run("racing-installers", 0, "6.1"), run("racing-installers", 1)
    whole, part = racing(), compare_histories(a, b, name="server")
    assert part.name == "server"
    assert [d.a for d in whole.differences if d.comm == "server" and d.metric.name == "parks"] == [
        part.overall("parks").a
    ]
    parks = sum(s.parks for s in b.allocs if s.comm == "server")
    assert part.overall("parks").b == pytest.approx(parks / part.b.duration_s)
    with pytest.raises(ObserveError, match=r"no process called 'nobody'.*server"):
        compare_histories(a, b, name="nobody")


def test_processes_that_one_side_lacks_are_named() -> None:
    c = compare_histories(run("page-leak", 0), run("steady", 0))
    assert "leaky.service (binder)" in c.only_in_a
    assert "system_server (binder)" in c.only_in_b
    assert not {d.comm for d in c.differences} & {"leaky.service", "system_server"}


EMPTY = history(attach(), row(500 * MS, Kind.DETACH, alloc=0))
NONSENSE: dict[str, History] = {
    "no rows": history(),
    "empty": EMPTY,
    "one event": history(attach(), mapped(), row(5 * MS, Kind.ALLOC_PAGE_START)),
    "one moment": history(attach(), mapped(), install(0)),
    "only left-truncated": history(
        attach(), found(), park(MS, 0), reclaim(2 * MS, 1), row(500 * MS, Kind.DETACH, alloc=0)
    ),
    "full of losses": history(
        attach(), mapped(), [row(i * MS, Kind.LOST, i + 1) for i in range(9)], install(10 * MS),
        row(11 * MS, Kind.LOST, 3), reclaim(12 * MS, 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("a", NONSENSE)
@pytest.mark.parametrize("b", ["itself", "empty", "much"])
def test_next_to_nothing_gives_a_sensible_comparison(a: str, b: str) -> None:
    much = run("racing-installers", 0)
    c = compare_histories(NONSENSE[a], {"itself": NONSENSE[a], "empty": EMPTY, "much": much}[b])
    assert b == "itself" or a == "empty" or c.warnings
    assert {d.metric.name for d in c.differences if d.comm is None} == {m.name for m in METRICS}
    if b != "much":
        assert not c.significant  # one event here or there proves nothing
    for d in c.differences:
        for number in (d.a, d.b, d.ratio, d.p, d.q, d.importance):
            assert number is None or np.isfinite(number)


def test_what_limits_the_comparison_is_said() -> None:
    c = compare_histories(NONSENSE["full of losses"], EMPTY)
    text = "\n".join(c.warnings)
    assert "A lost 48 of its events" in text
    assert "A ended abruptly" in text
    assert "B has no binder page event" in text
    assert "41.7 times as long" in text
    live = collect(type(META)("live", "7.3", "6.14", 16384, "0", filters={"pid": ["1"]}), [batch(attach())])
    text = "\n".join(compare_histories(EMPTY, live).warnings)
    assert "A is simulated, B is live" in text
    assert "4096 bytes in A, 16384 in B" in text
    assert "different filters" in text


def order(c: Comparison) -> list[tuple[int, float]]:
    verdicts = ("significant", "untested", "noise", "same", "unknown")
    return [(verdicts.index(d.verdict), -d.importance) for d in c.differences]


def test_the_most_important_comes_first() -> None:
    c = racing()
    assert order(c) == sorted(order(c))
    assert max(d.importance for d in c.differences if d.comm is not None) < np.log(10)
    assert c.overall("duplicate_installs").importance == np.log(10)  # new weighs as much as ten times more


def test_a_frame_of_it() -> None:
    c = racing()
    frame = c.frame()
    assert len(frame) == len(c.differences)
    assert frame["metric"].tolist() == [d.metric.name for d in c.differences]
    overall = frame[frame["comm"].isna()].set_index("metric")
    assert overall.loc["installs", "ratio"] == c.overall("installs").ratio
    assert overall.loc["installs", "ratio_low"] == (c.overall("installs").ratio_ci or [None])[0]
    empty = compare_histories(NONSENSE["no rows"], NONSENSE["no rows"]).frame()
    assert (empty.dtypes.drop(["metric", "kind", "unit", "verdict", "test"]) == frame.dtypes.drop(
        ["metric", "kind", "unit", "verdict", "test"])).all()  # fmt: skip

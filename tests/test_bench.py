"""The benchmarks: what they keep, what docs/performance.md says of it, and that all tools give the same answer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench import __main__ as bench
from bench import measure, report, reporting, results, streams
from bench.inside import growth
from bench.peers import with_dict, with_duckdb, with_polars
from bench.peers.lives import LIVES, table
from binder_observe.analysis.summary import summarize
from binder_observe.events import COLUMNS, EventBatch, Kind, concat
from binder_observe.observation import Observation
from binder_observe.rows import Ended
from binder_observe.tracker import PageTracker
from tests.build import META, attach, batch, install, mapped, park, reclaim, release, reuse, row

ROOT = Path(__file__).parent.parent
KEPT = sorted(results.DIRECTORY.glob("*.json"))


@pytest.mark.parametrize("path", KEPT, ids=lambda p: p.stem)
def test_a_kept_result_says_what_was_run_and_where(path: Path) -> None:
    kept = results.load(path)
    assert kept.name == path.stem
    assert {"cpu", "cores", "memory", "kernel", "python"} <= kept.machine.keys()
    assert kept.rows
    for found in kept.rows:
        assert found.value == median(found.runs), found
    for said in kept.ratios:
        assert said == results.ratio(said.what, said.value, said.goal, said.unit)


@pytest.mark.checkout
def test_every_comparison_has_its_result() -> None:
    assert set(bench.NAMES) <= {path.stem for path in KEPT}


@pytest.mark.checkout
def test_the_documentation_is_made_of_the_results() -> None:
    found = report.results()
    assert (ROOT / "docs" / "performance.md").read_text() == report.page(found)
    for picture in re.findall(r"!\[.*\]\((.*)\)", report.page(found)):
        assert (ROOT / "docs" / picture).read_text().startswith("<?xml")


def test_no_figure_is_typed_into_the_page() -> None:
    template = (Path(report.__file__).parent / "performance.md.j2").read_text()
    assert not re.search(r"\d", re.sub(r"\{[{%].*?[%}]\}", "", template))


def test_a_result_survives_writing(tmp_path: Path) -> None:
    found = results.Result(
        "x", "X", "what", [results.row("a", "b", "s", [3.0, 1.0, 2.0])], [results.ratio("r", 2.0, "≥ 3")], ["note"]
    )
    assert found.rows[0].value == 2.0
    assert results.load(found.write(tmp_path)) == found


@pytest.mark.parametrize(
    ("value", "goal", "met"), [(25.0, "≥ 25", True), (24.9, "≥ 25", False), (0.2, "≤ 0.2", True), (1, None, None)]
)
def test_goals(value: float, goal: str | None, met: bool | None) -> None:
    assert results.ratio("x", value, goal).met is met


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.012345, "0.0123"), (7.0, "7.00"), (87.25, "87.2"), (123456.0, "123,000")]
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert report.figure(value) == text


@pytest.mark.slow
def test_a_command_is_measured() -> None:
    run = measure.command(["python3", "-c", "x = b'x' * 700_000_000; import time; b = time.process_time()\n"
                           "while time.process_time() < b + 0.2: pass\nprint(1)"])  # fmt: skip
    assert run.output == "1\n"
    assert run.cpu_s >= 0.2
    assert run.peak_bytes > 700_000_000  # more than this process has, which Linux would count as well
    with pytest.raises(subprocess.CalledProcessError):
        measure.command(["false"])


@pytest.mark.slow
def test_a_child_has_the_cores_that_it_was_given() -> None:
    child = measure.child("growth.tracker", 1_000, 2)
    assert 0 < child.figures["cpu_s"] < child.cpu_s
    code = "import os; print(len(os.sched_getaffinity(0)))"
    assert measure.command(["python3", "-c", code], cores=1).output == "1\n"


def test_tools_take_turns() -> None:
    order: list[str] = []

    def tool(name: str) -> measure.Run:
        order.append(name)
        return measure.Run(0, 0, 0, name)

    found = measure.in_turn(2, {"a": lambda: tool("a"), "b": lambda: tool("b")})
    assert order == ["a", "b", "a", "b"]
    assert [run.output for run in found["b"]] == ["b", "b"]


def varied() -> EventBatch:
    """Duplicates, teardown parks, a reclaim and a refault, lives that end in all three ways."""
    return batch(
        attach(), mapped(), mapped(ts=1, alloc=2), *(install(10 + 10 * p, p) for p in range(3)), install(45, 1),
        park(50), park(60, 1), reuse(70, 1), park(80, 1), reclaim(90, 1), install(100, 1), install(110, alloc=2),
        park(120, alloc=2), release(130, parks=(1, 2)), reuse(140, alloc=2), row(150, Kind.DETACH, alloc=0),
    )  # fmt: skip


@pytest.fixture
def small_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "WORK", tmp_path)
    monkeypatch.setattr(streams, "_SECONDS", dict.fromkeys(("churn", "memory-pressure", "racing-installers"), 0.3))
    streams._body.cache_clear()


def stream(name: str) -> EventBatch:
    return varied() if name == "varied" else concat(streams.repeated(name, 60_000))


def arrow(events: EventBatch) -> Any:
    return pa.table({c: getattr(events, c) for c in COLUMNS})


def by_tracker(events: EventBatch) -> Any:
    tracker = PageTracker()
    lives = np.concatenate([tracker.update(events).lives, tracker.alive()])
    assert not tracker.unexplained()
    return lives


STREAMS = ("varied", "churn", "memory-pressure", "racing-installers")


@pytest.mark.usefixtures("small_streams")
@pytest.mark.parametrize("name", STREAMS)
def test_all_tools_find_the_same_lives(name: str) -> None:
    pytest.importorskip("duckdb", reason="DuckDB is not installed: pip install duckdb")
    polars = pytest.importorskip("polars", reason="Polars is not installed: pip install polars")
    events = stream(name)
    end_ns = int(events.ts_ns[-1])
    expected = table(by_tracker(events))
    assert {Ended.ALIVE, Ended.RELEASED} <= set(expected["ended"].tolist())
    connection = with_duckdb.connect(threads=1)
    connection.register("stream", arrow(events))
    connection.execute("CREATE TABLE events AS FROM stream")
    sql = with_duckdb.lives(connection, end_ns)
    frame = with_polars.lives(polars.DataFrame(arrow(events)), end_ns)
    columns = [getattr(events, c).tolist() for c in ("ts_ns", "kind", "alloc", "page", "tgid")]
    loop = zip(*with_dict.lives(zip(*columns, strict=True), end_ns), strict=True)
    for found in (
        {c: sql[c].to_numpy() for c in sql.column_names},
        {c: frame[c].to_numpy() for c in frame.columns},
        dict(zip(LIVES.names or (), loop, strict=True)),
    ):
        np.testing.assert_array_equal(table(found), expected)


@pytest.mark.usefixtures("small_streams")
@pytest.mark.parametrize("name", STREAMS)
def test_duckdb_counts_what_the_report_does(name: str, tmp_path: Path) -> None:
    pytest.importorskip("duckdb", reason="DuckDB is not installed: pip install duckdb")
    events = stream(name)
    path = tmp_path / "r.arrows"
    assert streams.record(path, iter([events])) == len(events)
    observation = Observation(META)
    observation.feed(events)
    ours: dict[str, Any] = summarize(observation).to_dict()
    peer = with_duckdb.report(str(path), threads=2)
    reporting.check(ours, peer)
    peer[0]["parks"] += 1
    with pytest.raises(AssertionError):
        reporting.check(ours, peer)


@pytest.mark.usefixtures("small_streams")
def test_repetitions_are_one_legal_stream() -> None:
    once, often = (concat(streams.repeated("churn", n)) for n in (1, 100_000))
    assert once.kind[0] == often.kind[0] == Kind.ATTACH
    assert once.kind[-1] == often.kind[-1] == Kind.DETACH
    assert len(often) >= 100_000 > len(once)
    assert (np.diff(often.ts_ns) > 0).all()
    tracker = PageTracker()
    tracker.update(often)
    assert not tracker.unexplained()
    assert not set(often.kind.tolist()) & {Kind.ALLOC_LRU_END, Kind.FREE_LRU_END, Kind.UNMAP_USER_START, Kind.LOST}
    made = np.unique(often.alloc[often.kind == Kind.MMAP])
    assert len(made) == np.count_nonzero(often.kind == Kind.MMAP)


def test_growing_streams_are_legal() -> None:
    observation = Observation(META)
    for part in growth.stream(20_000, 7):
        observation.feed(part)
    states = list(observation.tracker.allocs())
    assert not observation.tracker.unexplained()
    assert observation.tracker.events == 20_000
    assert [s.installs for s in states] == [growth.PAGES] * 7
    assert all(s.parks and s.reuses and not s.failed_installs for s in states)


def test_slopes() -> None:
    from bench.growth import slope

    assert slope([10, 100, 1000], [1.0, 50.0, 100.0]) == pytest.approx(1.0)
    assert slope([10, 1000], [5.0, 5.0]) == 0

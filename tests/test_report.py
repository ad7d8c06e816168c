"""The report's writers, held against golden files and the published schema.

`UPDATE_GOLDEN=1 pytest tests/test_report.py` writes the golden files anew; look at the difference before you keep it.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from binder_observe.analysis.summary import Report, summarize
from binder_observe.events import Kind
from binder_observe.observation import Observation
from binder_observe.reports import as_json, report_schema, terminal
from tests.build import META, SHRINKER, Row, attach, batch, found, install, mapped, park, reclaim, release, reuse, row

GOLDEN = Path(__file__).parent / "golden"
US, MS = 1_000, 1_000_000


def observed(*rows: Row | list[Row]) -> Report:
    observation = Observation(META)
    observation.feed(batch(*rows))
    return summarize(observation)


def two_processes() -> Report:
    return observed(
        attach(), mapped(254), row(0, Kind.PROCESS, alloc=0, task=100, name="system_server"),
        found(254, alloc=2, ts=5 * MS), row(6 * MS, Kind.SNAPSHOT_HIGH, 9, alloc=2),
        install(10 * MS, 0), install(11 * MS, 1, task=201), install(12 * MS, 1, task=202), park(50 * MS, 0),
        park(60 * MS, 1), reuse(70 * MS, 0), park(90 * MS, 0), reclaim(500 * MS, 0), park(510 * MS, 3, alloc=2),
        install(520 * MS, 0), row(530 * MS, Kind.ALLOC_PAGE_START, 5), park(540 * MS, 0, task=200),
        mapped(62, alloc=3, ts=600 * MS), install(610 * MS, 0, alloc=3), release(700 * MS, alloc=3, parks=(0,)),
        row(2000 * MS, Kind.DETACH, alloc=0),
    )  # fmt: skip


def what_stands_out() -> Report:
    """Two senders race, one with an escape sequence in its name, for a page that is reclaimed again and again; then
    pages are leaked."""
    rows: list[Row | list[Row]] = [
        attach(), mapped(62), row(0, Kind.PROCESS, alloc=0, task=100, name="system_server"),
        row(0, Kind.PROCESS, alloc=0, task=200, name="app\x1b[31m"),
        row(0, Kind.PROCESS, alloc=0, task=300, name="kswapd0"),
    ]  # fmt: skip
    for i in range(100):
        start = (10 + 10 * i) * US
        rows += [
            row(start, Kind.ALLOC_PAGE_START, 1, task=200), row(start, Kind.ALLOC_PAGE_START, 1, task=201),
            row(start + 200, Kind.ALLOC_PAGE_END, 1, task=200),
            row(start + 300 + i, Kind.ALLOC_PAGE_END, 1, task=201),
            park(start + US, 1), reclaim(start + 4 * US, 1),
        ]  # fmt: skip
    return observed(
        *rows, [r for p in range(4, 9) for r in install(1020 * MS, p)], row(3000 * MS, Kind.DETACH, alloc=0)
    )


def skipped_pages() -> Report:
    """A child keeps the file of a process that has ended; of another's pages some are skipped."""
    return observed(
        attach(), mapped(62), row(0, Kind.PROCESS, alloc=0, task=100, name="ended"),
        mapped(62, alloc=2, owner=101), row(0, Kind.PROCESS, alloc=0, task=101, name="busy"),
        install(10 * MS, 0), park(20 * MS, 0), install(11 * MS, 1, alloc=2), park(21 * MS, 1, alloc=2),
        [row(30 * MS + i, Kind.LRU_SKIP_MM_GONE, task=SHRINKER) for i in range(120)],
        row(31 * MS, Kind.LRU_SKIP_ALLOC_LOCK, 1, alloc=2), row(32 * MS, Kind.LRU_SKIP_MMAP_LOCK, 1, alloc=2),
        row(33 * MS, Kind.LRU_SKIP_OTHER, 1, alloc=2), reclaim(34 * MS, 1, alloc=2),
        row(50 * MS, Kind.DETACH, alloc=0),
    )  # fmt: skip


def without_latency() -> Report:
    """Nobody watched the shrinker's callback."""
    observation = Observation(replace(META, source="live", probes=["binder_unmap_kernel_start"]))
    observation.feed(batch(attach(), mapped(), install(10), park(20), reclaim(30), row(50, Kind.DETACH, alloc=0)))
    return summarize(observation)


def many_processes() -> Report:
    each = [[mapped(62, alloc=i, owner=1000 + i), *install(MS * i, alloc=i, task=7)] for i in range(1, 31)]
    return observed(attach(), *each, row(50 * MS, Kind.DETACH, alloc=0))


CASES: dict[str, Callable[[], Report]] = {
    "what_stands_out": what_stands_out,
    "skipped_pages": skipped_pages,
    "without_latency": without_latency,
    "only_losses": lambda: observed(
        attach(), mapped(), row(MS, Kind.LOST, 500, alloc=0), row(2 * MS, Kind.DETACH, alloc=0)
    ),
    "two_processes": two_processes,
    "empty": lambda: observed(attach(), row(5 * MS, Kind.DETACH, alloc=0)),
    "nothing_at_all": lambda: observed(),
    "one_event": lambda: observed(attach(), mapped(), row(5 * MS, Kind.ALLOC_PAGE_START)),
    "only_left_truncated": lambda: observed(attach(), found(), park(MS, 0), reclaim(2 * MS, 1)),
    "full_of_losses": lambda: observed(
        attach(), mapped(), [row(i * MS, Kind.LOST, i + 1) for i in range(9)], install(10 * MS),
        row(11 * MS, Kind.LOST, 3), reclaim(12 * MS, 2),
    ),
    "unexplained": lambda: observed(attach(), mapped(), park(MS, 0), install(2 * MS, 0)),
    "odd_names": lambda: observed(
        attach(), row(0, Kind.MMAP, 4, task=100, name="\x1b[31mred"), row(0, Kind.PROCESS, task=100, name="[bold]x\n"),
        install(1),
    ),
}  # fmt: skip


def as_text(report: Report) -> str:
    out = io.StringIO()
    terminal.write(report, out)
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("form", ["txt", "json"])
def test_golden(name: str, form: str) -> None:
    report = CASES[name]()
    text = as_text(report) if form == "txt" else json.dumps(report.to_dict(), indent=2) + "\n"
    path = GOLDEN / f"{name}.{form}"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_json_keeps_to_its_schema(name: str) -> None:
    out = io.StringIO()
    as_json.write(CASES[name](), out)
    schema = report_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(out.getvalue()), schema)


@pytest.mark.parametrize("name", CASES)
def test_piped_text_is_narrow_and_plain(name: str) -> None:
    text = as_text(CASES[name]())
    assert max(len(line) for line in text.splitlines()) <= terminal.WIDTH
    assert "\x1b" not in text


def test_long_numbers_and_names_stay_legible() -> None:
    """Names give way, numbers do not."""
    report = two_processes()
    (p, *_) = report.processes
    big = 12_345_678
    state = replace(
        p.state, pid=4_194_304, comm="fifteen_letters", context="fifteen_letters", released=True, parks=big, reuses=big,
        reclaims=big, refaults=big, installs=big, duplicate_installs=big, failed_installs=big,
    )  # fmt: skip
    text = as_text(replace(report, processes=(replace(p, state=state, refault_delay=p.lifetime),)))
    lines = [line for line in text.splitlines() if line.startswith("4194304")]
    assert len(lines) == 4 + len(p.senders)
    assert sum(line.count(str(big)) for line in lines) == 7
    assert max(map(len, text.splitlines())) <= terminal.WIDTH


def test_a_report_names_the_largest_and_counts_the_others() -> None:
    report = many_processes()
    more = len(report.processes) - terminal.MOST_PROCESSES
    assert as_text(report).count(f"... and {more} more\n") == 4
    assert len(report.to_dict()["processes"]) == len(report.processes)  # type: ignore[arg-type]


def test_skips_that_nobody_watched_are_not_zero() -> None:
    for make, said in (
        (two_processes, {"alloc_lock": 0, "mmap_lock": 0, "mm_gone": 0, "other": 0}), (without_latency, None),
    ):  # fmt: skip
        processes: Any = make().to_dict()["processes"]
        assert [p["lru_skips"] for p in processes] == [said] * len(processes)
    assert "SKIP" not in as_text(without_latency()).upper()


def test_what_stands_out_comes_first() -> None:
    lines = as_text(CASES["what_stands_out"]()).splitlines()
    assert lines[2] == "What stands out"
    assert lines[3].startswith("high ")
    assert as_text(two_processes()).splitlines()[2] == "Nothing stands out."


def test_simulated_data_says_so_everywhere() -> None:
    report = two_processes()
    assert as_text(report).startswith("SIMULATED ")
    assert "SIMULATED" in terminal.interval_line(report)
    assert report.to_dict()["source"] == "simulated"


@pytest.mark.parametrize(
    ("ns", "text"),
    [(None, "-"), (0, "0ns"), (999, "999ns"), (1000, "1us"), (1234567, "1.23ms"), (99_960_000, "100ms"),
     (12_345_000_000, "12.3s"), (3_600_000_000_000, "3600s")],
)  # fmt: skip
def test_durations_are_short(ns: int | None, text: str) -> None:
    assert terminal.duration(ns) == text

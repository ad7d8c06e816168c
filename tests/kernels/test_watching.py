"""Observers that are watched, the service, and abnormal ends, held against the kernel's counts and known.requests."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from binder_observe.analysis.summary import summarize
from binder_observe.observation import Observation
from binder_observe.sources.recording import RecordingSource
from tests.kernels import oracle, scraped, watching
from tests.kernels.session import SCENES, Session
from tests.kernels.unit import settings
from tests.kernels.workload import LISTS

pytestmark = [pytest.mark.kernel, pytest.mark.parametrize("booted", SCENES["watching"], indirect=True)]
COUNTERS = ("installs", "reuses", "parks", "reclaims")
_CAPABILITIES = {
    "CAP_SYS_ADMIN": 21,
    "CAP_SYSLOG": 34,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}  # include/uapi/linux/capability.h


def predicted() -> dict[str, tuple[int, ...]]:
    """COUNTERS of both processes, from the table at the head of the list, which was made by hand."""
    text = (LISTS / "known.requests").read_text()
    rows = re.findall(r"^# +(server|client) +(\d+) +(\d+) +(\d+) +(\d+) ", text, re.M)
    return {name: tuple(map(int, counts)) for name, *counts in rows}


def report_of(path: Path) -> tuple[dict[str, Any], str | None]:
    """A recording's report, and what is missing at its end."""
    source = RecordingSource(path)
    observation = Observation(source.meta)
    for batch in source.batches():
        observation.feed(batch)
    return summarize(observation).to_dict(), source.note


def counted(report: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {p["comm"]: tuple(p[name] for name in COUNTERS) for p in report["processes"]}


@pytest.fixture
def watched(booted: Session) -> Path:
    assert booted.status("watching") == 0, booted.text("output.log")[-3000:]
    return booted.results / "watching"


@pytest.fixture
def unit(watched: Path) -> Path:
    if not (watched / "systemd.log").exists():
        reason = "there is no systemd here; make test-kernels installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return watched


def assert_scraped(folder: Path, name: str, moment: str) -> str:
    """What was scraped when nothing moved is what the kernel counted."""
    metrics = (folder / f"{name}.{moment}.metrics").read_text()
    kernel = oracle.parse((folder / f"{name}.{moment}.stats").read_text())
    assert len(kernel) == 2
    assert scraped.gauges(metrics) == kernel
    assert scraped.audit(metrics) == "agreed"
    assert scraped.value(metrics, "binder_observe_up") == 1
    assert scraped.value(metrics, "binder_observe_lost_events_total") == 0
    assert scraped.value(metrics, "binder_observe_unexplained_total") == 0
    return metrics


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("export", 0),
        ("top", 0),
        ("hang_up", 129),
        ("refused", 3),
        ("sigabrt", -6),
        ("sigsegv", -11),
        ("disk_full", 1),
        ("bcc_gone", 1),
    ],
)
def test_every_end_has_its_status_and_leaves_nothing_in_the_kernel(watched: Path, name: str, status: int) -> None:
    said = (watched / f"{name}.err").read_text()
    assert int((watched / f"{name}.status").read_text()) == status, said
    assert (watched / f"{name}.left").read_text() == ""
    assert "Traceback" not in said


@pytest.mark.parametrize("moment", ["grown", "done"])
def test_metrics_are_the_kernels_counts(booted: Session, watched: Path, moment: str) -> None:
    metrics = assert_scraped(watched, "export", moment)
    ((info, _),) = scraped.samples(metrics, "binder_observe_info")
    assert (info["source"], info["generation"]) == ("live", booted.generation)
    assert info["kernel"].startswith(booted.kernel)


def test_counters_are_those_of_the_list(booted: Session, watched: Path) -> None:
    metrics = (watched / "export.done.metrics").read_text()
    pids = booted.pids("watching/exported")
    for name, counts in predicted().items():
        found = [scraped.value(metrics, f"binder_page_{c}_total", pid=str(pids[name]), comm=name) for c in COUNTERS]
        assert tuple(found) == counts
    assert (watched / "export.health").read_text().startswith("reading: ")
    report = json.loads((watched / "export.out").read_text())
    assert report["complete"]
    assert counted(report) == predicted()
    assert report["events"] == scraped.value(metrics, "binder_observe_events_total")


@pytest.mark.parametrize("moment", ["grown", "done"])
def test_top_shows_the_kernels_counts(booted: Session, watched: Path, moment: str) -> None:
    kernel = oracle.parse((watched / f"top.{moment}.stats").read_text())
    screen = (watched / f"top.{moment}.screen").read_text()
    assert sorted(pid for pid, _ in kernel) == sorted(booted.pids("watching/shown").values())
    for (pid, _), [(active, lru, free, _)] in kernel.items():
        assert watching.row(screen, pid) == (active, lru, free), screen
    line = " ".join(screen.split())  # which is wrapped
    assert f"source live; kernel {booted.kernel}" in line
    assert re.search(r"events \d+, lost 0; duplicate installs 0, failed 0; unexplained 0", line), screen
    assert "saving" in screen


def test_what_top_saved_is_what_it_showed(watched: Path) -> None:
    report, note = report_of(watched / "top.arrows")
    assert note is None
    live = json.loads((watched / "top.out").read_text())
    assert live["events"] == report["events"] > 0
    assert live["processes"] == report["processes"]
    assert counted(live) == predicted()


def test_what_top_saved_is_whole_when_its_terminal_goes_away(watched: Path) -> None:
    report, note = report_of(watched / "hang_up.arrows")
    assert note is None
    assert counted(report) == counted(json.loads((watched / "hang_up.out").read_text())) == predicted()


@pytest.mark.parametrize("name", ["sigabrt", "sigsegv", "disk_full", "bcc_gone"])
def test_what_was_recorded_before_the_end_is_readable(watched: Path, name: str) -> None:
    report, note = report_of(watched / f"{name}.arrows")
    assert note is not None
    # what came after the list (disk_full runs it again) may be there, or not
    first = {p["comm"]: tuple(p[c] for c in COUNTERS) for p in reversed(report["processes"]) if p["released"]}
    assert first == predicted()


def test_an_ordinary_user_with_two_capabilities_misses_only_what_was_before(watched: Path) -> None:
    report, _ = report_of(watched / "sigabrt.arrows")
    assert report["notes"][0].startswith("page states cannot be read: /proc/kallsyms hides addresses (no CAP_SYSLOG")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "disk_full",
            r"cannot write to /run/small/events\.arrows: No space left on device; the [\d,]+ events recorded until then"
            r" are saved and readable, the [\d,]+ that came after them are not",
        ),
        (
            "refused",
            r"privileges: CAP_BPF and CAP_PERFMON, but with kernel\.perf_event_paranoid=3 kprobes take CAP_SYS_ADMIN;"
            r" try: sysctl kernel\.perf_event_paranoid=2",
        ),
        ("bcc_gone", r"bcc failed while the probes were attached \(.*libbcc is gone\); start it again"),
    ],
)
def test_a_failure_is_one_sentence(watched: Path, name: str, sentence: str) -> None:
    lines = (watched / f"{name}.err").read_text().splitlines()
    assert re.fullmatch(f"binder-observe: {sentence}", lines[-1])
    assert sum(line.startswith("binder-observe:") for line in lines) == 1


def test_the_service_has_the_rights_that_it_needs_and_no_others(unit: Path) -> None:
    process = dict(re.findall(r"^(\w+):\s+(.*)$", (unit / "unit.process").read_text(), re.M))
    (names,) = settings("CapabilityBoundingSet")
    capabilities = sum(1 << _CAPABILITIES[name] for name in names.split())
    assert {int(process[f"Cap{which}"], 16) for which in ("Eff", "Prm", "Bnd")} == {capabilities}
    assert process["NoNewPrivs"] == "1"
    assert process["Seccomp"] == "2"
    doctor = json.loads((unit / "unit.out").read_text())
    assert doctor["ok"]
    found = {c["id"]: c["status"] for c in doctor["checks"]}
    assert {name for name, status in found.items() if status not in ("ok", "unknown")} == {"devices"}  # PrivateDevices
    assert [found[name] for name in ("privileges", "tracefs", "tracepoints", "page-states", "stats")] == ["ok"] * 5


def test_the_service_knows_what_was_there_before_and_what_comes(booted: Session, unit: Path) -> None:
    before = assert_scraped(unit, "unit", "grown")
    assert scraped.value(before, "binder_observe_events_total") == 0
    assert sum(pages for labels, pages in scraped.samples(before, "binder_pages") if labels["state"] == "active") > 0
    after = assert_scraped(unit, "unit", "done")
    assert scraped.value(after, "binder_page_reclaims_total", comm="server") == predicted()["server"][3]


def test_the_service_stops_in_order(unit: Path) -> None:
    ended = dict(line.split("=", 1) for line in (unit / "unit.end").read_text().splitlines())
    assert ended == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"}
    assert (unit / "unit.left").read_text() == ""
    said = (unit / "unit.err").read_text().splitlines()
    assert said[0].startswith("Serving metrics of binder pages at http://127.0.0.1:19477/metrics")
    assert said[1].startswith("source live; ")

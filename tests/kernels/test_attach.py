"""Attaching to a system that is running: from the first moment on, counts are the kernel's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kernels import oracle, session
from tests.kernels.session import Session

pytestmark = pytest.mark.kernel


def moment(booted: Session, name: str) -> tuple[dict[str, Any], dict[tuple[int, str], list[oracle.Counts]]]:
    """What was tracked, and what the kernel counted."""
    for line in booted.text("attach/moments.jsonl").splitlines():
        found = json.loads(line)
        if found["moment"] == name:
            return found["report"], oracle.parse(found["stats"])
    raise AssertionError(f"there was no {name}: {booted.text('output.log')[-2000:]}")


def assert_equal(report: dict[str, Any], kernel: dict[tuple[int, str], list[oracle.Counts]]) -> None:
    assert report["lost_events"] == 0
    assert report["unexplained_by_transition"] == {}
    tracked = oracle.tracked(report)
    assert {key: tracked.get(key) for key in kernel} == kernel
    assert not any(process["pages"]["unknown"] for process in report["processes"] if not process["released"])


def test_quiet_system_is_known_before_any_event(booted: Session) -> None:
    report, kernel = moment(booted, "idle")
    assert report["events"] == 0
    assert_equal(report, kernel)
    pids = booted.pids("attach/late")
    assert kernel[pids["idle"], "binder"] == [(0, 0, 254, 0)]  # it has never done anything
    assert sum(active for counts in kernel.values() for active, *_ in counts) > 0
    assert sum(lru for counts in kernel.values() for _, lru, *_ in counts) > 0
    assert not any("unknown" in note for note in report["notes"])
    # what the kernel does not count, because it is not mapped any more
    assert set(oracle.tracked(report)) - set(kernel) == {(pids["vendor"], "hwbinder")}


def test_mmap_whose_return_was_missed_hides_no_pages(booted: Session) -> None:
    report, kernel = moment(booted, "a return missed")
    assert kernel
    assert_equal(report, kernel)


def test_counts_stay_true_through_traffic_reclaim_and_exits(booted: Session) -> None:
    report, kernel = moment(booted, "after traffic")
    assert_equal(report, kernel)
    pids = booted.pids("attach/late")
    assert (pids["app"], "binder") not in kernel
    assert sum(process["reclaims"] for process in report["processes"]) > 0
    assert any(process["lives"]["left_truncated"] for process in report["processes"])
    report, kernel = moment(booted, "after exits")
    assert_equal(report, kernel)
    assert all(process["released"] for process in report["processes"])


def test_attaching_in_the_middle_of_traffic(booted: Session) -> None:
    found = [moment(booted, f"traffic {n}") for n in range(session.ATTACHES)]
    for report, kernel in found:
        assert_equal(report, kernel)
    # it was traffic, and there was something to know from before
    assert sum(len(kernel) > 0 for _, kernel in found) > session.ATTACHES / 2
    assert any(process["lives"]["left_truncated"] for report, _ in found for process in report["processes"])
    assert sum(report["events"] for report, _ in found) > 0

"""Some processes only, on real kernels: by name, and who gets one later."""

from __future__ import annotations

from typing import Any

import pytest

from binder_observe.events import Kind
from tests.kernels import oracle
from tests.kernels.session import Session
from tests.kernels.test_live import events, process, report_at

pytestmark = pytest.mark.kernel

NAMES = ["com.example-application", "later"]


def counts(stats: str, *owners: int) -> dict[tuple[int, str], list[oracle.Counts]]:
    """The kernel's, of these owners."""
    return {key: pages for key, pages in oracle.parse(stats).items() if key[0] in owners}


def ended_in_order(session: Session, name: str) -> None:
    assert session.status(name) == 0
    report = session.json(name)
    assert report["complete"]
    assert report["lost_events"] == 0
    assert report["unexplained_by_transition"] == {}


def audited(report: dict[str, Any], compared: int) -> None:
    audit = {"checked": True, "agreed": True, "compared": compared, "inconclusive": 0, "differences": []}
    assert report["audit"] == audit


def test_it_ends_in_order(booted: Session) -> None:
    ended_in_order(booted, "named")


def test_the_banner_says_that_it_waits(booted: Session) -> None:
    assert booted.text("named.err").splitlines()[0] == (
        "Tracing binder pages, waiting for name com.example-application or later... Hit Ctrl-C to end."
    )


def test_names_are_picked_up_at_the_start_and_when_they_change(booted: Session) -> None:
    pids = booted.pids("filters")
    report = booted.json("named")
    assert {(p["pid"], p["comm"]) for p in report["processes"]} == {
        (pids["unnamed"], "ple-application"), (pids["later"], "later"),
    }  # fmt: skip
    assert report["filters"] == {"name": NAMES}
    assert any("ple-application" in note for note in report["notes"])
    assert process(report, pids["later"])["observed_from_birth"]
    assert not process(report, pids["unnamed"])["observed_from_birth"]


def test_counts_by_name_equal_the_kernels(booted: Session) -> None:
    pids = booted.pids("filters")
    kernel = counts(booted.text("filters/end.stats"), pids["unnamed"], pids["later"])
    assert len(kernel) == 2
    assert sum(active + lru for pages in kernel.values() for active, lru, _, _ in pages) > 0
    assert oracle.tracked(booted.json("named")) == kernel
    at_the_end = report_at(booted.results / "named.arrows", int(booted.text("filters/end.time")))
    assert oracle.tracked(at_the_end) == kernel
    audited(booted.json("named"), 2)


def test_before_a_name_is_given_nothing_of_its_process_is_kept(booted: Session) -> None:
    pids = booted.pids("filters")
    batch = events(booted.results / "named.arrows")
    (renamed,) = (batch.kind == Kind.ALLOC).nonzero()[0]
    assert batch.tgid[renamed] == pids["unnamed"]
    of_kernel = batch.kind < Kind.SNAPSHOT_FREE
    assert of_kernel.nonzero()[0][0] > renamed
    # who sends to them is not asked: the manager, which answers
    assert {pids["system"]} <= set(batch.tgid[of_kernel].tolist())

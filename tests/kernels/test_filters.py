"""Some processes only, on real kernels: by name, by context, by a pid inside a pid namespace, and who comes later."""

from __future__ import annotations

import re
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


def initial_pids(session: Session) -> dict[int, int]:
    """What /proc of the initial namespace says of those in the other one: their pid there -> the kernel's pid."""
    found = re.findall(r"NSpid:\t(\d+)\t(\d+)$", session.text("nspid"), re.MULTILINE)
    return {int(inner): int(initial) for initial, inner in found}


def audited(report: dict[str, Any], compared: int) -> None:
    audit = {"checked": True, "agreed": True, "compared": compared, "inconclusive": 0, "differences": []}
    assert report["audit"] == audit


@pytest.mark.parametrize("name", ["named", "inner", "awaited"])
def test_every_one_of_them_ends_in_order(booted: Session, name: str) -> None:
    assert booted.status(name) == 0
    report = booted.json(name)
    assert report["complete"]
    assert report["lost_events"] == 0
    assert report["unexplained_by_transition"] == {}


def test_the_banner_says_that_it_waits(booted: Session) -> None:
    first = {name: booted.text(f"{name}.err").splitlines()[0] for name in ("named", "inner", "awaited")}
    assert first["named"] == (
        "Tracing binder pages, waiting for name com.example-application or later... Hit Ctrl-C to end."
    )
    assert first["inner"] == "Tracing binder pages... Hit Ctrl-C to end."
    assert first["awaited"].startswith("Tracing binder pages, waiting for process 8001 or 8002 or ")


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


def test_a_pid_of_a_namespace_is_that_process_and_a_context_one_of_its_mappings(booted: Session) -> None:
    inner = booted.pids("inner")["server"]
    initial = initial_pids(booted)[inner]
    assert initial != inner
    report = booted.json("inner")
    assert [(p["pid"], p["context"]) for p in report["processes"]] == [(initial, "hwbinder")]
    assert report["filters"] == {"pid": [str(initial)], "nspid": [str(inner)], "context": ["hwbinder"]}
    assert process(report, initial, "hwbinder")["released"]  # it ended by itself, with the process
    kernel = counts(booted.text("inner/end.stats"), initial)
    assert set(kernel) == {(initial, "binder"), (initial, "hwbinder")}
    at_the_end = report_at(booted.results / "inner.arrows", int(booted.text("inner/end.time")))
    assert oracle.tracked(at_the_end) == {(initial, "hwbinder"): kernel[initial, "hwbinder"]}


def test_senders_outside_of_the_namespace_have_their_own_names(booted: Session) -> None:
    batch = events(booted.results / "inner.arrows")
    names = {int(batch.tgid[row]): name for row, name in batch.names.items() if batch.kind[row] == Kind.PROCESS}
    initial = initial_pids(booted)
    ours = {initial[pid]: name for name, pid in booted.pids("inner").items()}
    assert {pid: names[pid] for pid in ours} == ours


def test_who_is_not_there_is_waited_for_in_a_namespace_too(booted: Session) -> None:
    pids = booted.pids("later")
    initial = initial_pids(booted)
    report = booted.json("awaited")
    assert {(p["pid"], p["comm"]) for p in report["processes"]} == {(initial[pids[name]], name) for name in pids}
    assert report["filters"] == {"nspid": [str(pid) for pid in range(8001, 8021)]}
    kernel = counts(booted.text("later/end.stats"), *(initial[pid] for pid in pids.values()))
    assert len(kernel) == 2
    assert oracle.tracked(report) == kernel
    audited(report, 2)


def test_a_pid_that_is_not_in_the_namespace_is_said(booted: Session) -> None:
    assert booted.status("stranger") == 1
    assert booted.text("stranger.err") == "binder-observe: there is no process 29999\n"

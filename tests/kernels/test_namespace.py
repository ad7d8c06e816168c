"""Inside a pid namespace, on real kernels: its pids, a context, and who comes later."""

from __future__ import annotations

import re

import pytest

from binder_observe.events import Kind
from tests.kernels import oracle
from tests.kernels.session import SCENES, Session
from tests.kernels.test_filters import audited, counts, ended_in_order
from tests.kernels.test_live import events, process, report_at

pytestmark = [pytest.mark.kernel, pytest.mark.parametrize("booted", SCENES["namespace"], indirect=True)]


def initial_pids(session: Session) -> dict[int, int]:
    """What /proc of the initial namespace says of those in the other one: their pid there -> the kernel's pid."""
    found = re.findall(r"NSpid:\t(\d+)\t(\d+)$", session.text("nspid"), re.MULTILINE)
    return {int(inner): int(initial) for initial, inner in found}


@pytest.mark.parametrize("name", ["inner", "awaited"])
def test_every_one_of_them_ends_in_order(booted: Session, name: str) -> None:
    ended_in_order(booted, name)


def test_the_banner_says_who_is_waited_for(booted: Session) -> None:
    assert booted.text("inner.err").splitlines()[0] == "Tracing binder pages... Hit Ctrl-C to end."
    assert booted.text("awaited.err").startswith("Tracing binder pages, waiting for process 8001 or 8002 or ")


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

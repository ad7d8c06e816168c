"""What --pid, --name and --context ask for, and where pids are looked up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from binder_observe.errors import UnsupportedError
from binder_observe.sources import processes
from binder_observe.sources.selection import Scope, Selection
from tests.test_snapshot import Types

PIDS = {
    "task_struct.pid_links": 1000, "task_struct.thread_pid": 900, "pid.level": 4, "pid.tasks": 16, "pid.numbers": 96,
    "upid.nr": 0, "upid.ns": 8, "pid_namespace.idr.idr_rt.xa_head": 8, "xa_node.shift": 0, "xa_node.slots": 40,
    "xa_node.marks": 552,
}  # fmt: skip


def test_an_empty_selection_has_all() -> None:
    assert not Selection()
    assert (9, "binder") in Scope()


@pytest.mark.parametrize(
    ("name", "comms"),
    [
        ("server", [b"server"]),
        ("fifteen-letters", [b"fifteen-letters"]),
        ("com.android.systemui", [b"com.android.sys", b"ndroid.systemui"]),
        (
            "ä" * 10,
            [("ä" * 7).encode() + b"\xc3", b"\xa4" + ("ä" * 7).encode()],
        ),  # cut between bytes, as the kernel does
    ],
)
def test_names_as_the_kernel_may_have_them(name: str, comms: list[bytes]) -> None:
    assert Selection(names=(name,)).comms() == comms
    assert all(len(comm) <= 15 for comm in comms)


def test_what_cannot_be_told_apart_is_said() -> None:
    (note,) = Selection(names=("short", "com.android.systemui")).notes()
    assert "com.android.sys or ndroid.systemui" in note


def test_it_reads_as_a_sentence() -> None:
    assert (
        str(Selection((1, 2), ("a",), ("binder", "hwbinder"))) == "process 1 or 2, name a, context binder or hwbinder"
    )


def test_each_of_a_scope_has_to_fit() -> None:
    scope = Scope(pids=(1, 2), contexts=("binder",))
    assert (1, "binder") in scope
    assert (1, "hwbinder") not in scope
    assert (3, "binder") not in scope
    assert (1, "binder") not in Scope(named=True)


def test_the_table_of_pids_is_found() -> None:
    types: Any = Types(PIDS)
    found = processes.layout(types)
    assert found["NODE_SIZE"] == 64
    assert set(found) == {
        "TASK_PID_LINKS", "TASK_THREAD_PID", "PID_LEVEL", "PID_TASKS", "PID_NUMBERS", "UPID_NR", "UPID_NS", "UPID_SIZE",
        "NS_IDR", "NODE_SHIFT", "NODE_SLOTS", "NODE_SIZE",
    }  # fmt: skip


@pytest.mark.parametrize("lacks", sorted(PIDS))
def test_another_table_of_pids_is_refused(lacks: str) -> None:
    types: Any = Types({name: at for name, at in PIDS.items() if name != lacks})
    with pytest.raises(UnsupportedError, match=lacks.split(".")[0]):
        processes.layout(types)


def test_where_pids_are_the_kernels(tmp_path: Path) -> None:
    assert not processes.in_init_namespace(tmp_path)  # a /proc in which we are not
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").touch()
    assert not processes.in_init_namespace(tmp_path)

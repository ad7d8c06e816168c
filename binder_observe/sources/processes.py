"""Looking processes up in the kernel, where /proc shows the pids of another namespace than the events have."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from binder_observe.sources.btf import Btf

_INIT_NAMESPACE: Final = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h


def in_init_namespace(proc: Path = Path("/proc")) -> bool:
    """Whether pids here are those of the initial pid namespace: those that we have, and those that /proc shows."""
    try:
        return (proc / "self/ns/pid").stat().st_ino == _INIT_NAMESPACE
    except OSError:  # a /proc of a namespace that we are not in has no `self`
        return False


def layout(btf: Btf) -> dict[str, int]:
    """The offsets that `processes.c` asks for, in bytes, by the names of its defines.

    Raises UnsupportedError when the kernel keeps its pids in another way.
    """
    slots = btf.offset("xa_node", "slots")
    return {
        "TASK_PID_LINKS": btf.offset("task_struct", "pid_links"),
        "TASK_THREAD_PID": btf.offset("task_struct", "thread_pid"),
        "PID_LEVEL": btf.offset("pid", "level"),
        "PID_TASKS": btf.offset("pid", "tasks"),
        "PID_NUMBERS": btf.offset("pid", "numbers"),
        "UPID_NR": btf.offset("upid", "nr"),
        "UPID_NS": btf.offset("upid", "ns"),
        "UPID_SIZE": btf.sizeof("upid"),
        "NS_IDR": btf.offset("pid_namespace", "idr.idr_rt.xa_head"),
        "NODE_SHIFT": btf.offset("xa_node", "shift"),
        "NODE_SLOTS": slots,
        "NODE_SIZE": (btf.offset("xa_node", "marks") - slots) // 8,
    }

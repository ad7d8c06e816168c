"""Processes that are to be observed: they must be there, and have binder open."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from binder_observe.errors import ObserveError


def check_pids(pids: Sequence[int]) -> None:
    """Raises ObserveError unless each is a process that has binder open."""
    for pid in pids:
        os.close(pidfd(pid))
        _need_binder(pid)


def pidfd(pid: int) -> int:
    """A descriptor that becomes readable when the process is gone; raises ObserveError when it is not there."""
    try:
        return os.pidfd_open(pid)
    except (ProcessLookupError, ValueError, OverflowError) as error:
        raise ObserveError(f"there is no process {pid}") from error
    except OSError as error:  # EINVAL: a thread that does not lead its process
        raise ObserveError(f"{pid} is not a process: {error.strerror}") from error


def _need_binder(pid: int) -> None:
    """A question about a process that has no binder open would be answered by silence."""
    files = f"/proc/{pid}/fd"
    opened = []
    try:
        for fd in os.listdir(files):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                opened.append(os.readlink(f"{files}/{fd}"))
    except OSError as error:
        raise ObserveError(f"cannot see the open files of process {pid}: {error.strerror}") from error
    if not any("binder" in Path(target).name or "/binderfs/" in target for target in opened):
        raise ObserveError(f"process {pid} ({comm(pid) or '?'}) has no binder device open")


def comm(tgid: int) -> str | None:
    """The name of a process; None when it is gone already."""
    try:
        return Path(f"/proc/{tgid}/comm").read_text().rstrip("\n")
    except OSError:
        return None

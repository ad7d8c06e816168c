"""Processes that are to be observed: they must be there, and have binder open.

Their pids are the caller's. The events have those of the initial pid namespace, and /proc those of the namespace that
it was mounted in: in a container, three numbers that may differ.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from binder_observe.errors import ObserveError


class NoProcessError(ObserveError):
    """There is no such process now."""


class Owners:
    """The processes that were asked for by pid. With `wait` they may come later, and open binder later.

    `initial` has their pids in the initial namespace, by the caller's, of those that are known and have not left;
    `inner` says that these may differ, and that `find()` has to be told how to look one up.

    Raises:
        ObserveError: without `wait`: a process is not there, or has no binder open.
    """

    def __init__(self, pids: Sequence[int], *, wait: bool = False, inner: bool = False) -> None:
        self.initial = {} if inner else {pid: pid for pid in pids}
        self._awaited = list(dict.fromkeys(pids))
        self._pidfds: dict[int, int] = {}
        self._ended: dict[int, float] = {}  # and when that was seen
        try:
            self._look()
            if self._awaited and not wait:
                pidfd(self._awaited[0])
            if not wait:
                for pid, fd in self._pidfds.items():
                    _need_binder(pid, fd)
        except BaseException:
            self.close()
            raise

    def find(self, look_up: Callable[[int], int | None]) -> list[int]:
        """The pids in the initial namespace of those that are known since this call."""
        self._look()
        found = []
        for pid, fd in self._pidfds.items():
            if pid not in self.initial and pid not in self._ended:
                initial = look_up(pid)
                # As long as the process is there, nobody else has its pid.
                if initial is not None and not _has_ended(fd):
                    self.initial[pid] = initial
                    found.append(initial)
        return found

    def all_ended(self) -> bool:
        """Whether all have come, and ended."""
        self._see_ends()
        return bool(self._pidfds) and not self._awaited and len(self._ended) == len(self._pidfds)

    def leave(self, after_s: float) -> list[int]:
        """The pids in the initial namespace of those that ended so long ago; they may be of other processes soon."""
        self._see_ends()
        end = time.monotonic() - after_s
        gone = [pid for pid, ended in self._ended.items() if pid in self.initial and ended <= end]
        return [self.initial.pop(pid) for pid in gone]

    def close(self) -> None:
        for fd in self._pidfds.values():
            os.close(fd)
        self._pidfds = {}

    def _see_ends(self) -> None:
        for pid, fd in self._pidfds.items():
            if pid not in self._ended and _has_ended(fd):
                self._ended[pid] = time.monotonic()

    def _look(self) -> None:
        for pid in tuple(self._awaited):
            with contextlib.suppress(NoProcessError):
                self._pidfds[pid] = pidfd(pid)
                self._awaited.remove(pid)


def check_pids(pids: Sequence[int]) -> None:
    """Raises ObserveError unless each is a process that has binder open."""
    Owners(pids).close()


def pidfd(pid: int) -> int:
    """A descriptor that becomes readable when the process is gone.

    Raises:
        NoProcessError: it is not there.
        ObserveError: it is a thread.
    """
    try:
        return os.pidfd_open(pid)
    except (ProcessLookupError, ValueError, OverflowError) as error:
        raise NoProcessError(f"there is no process {pid}") from error
    except OSError as error:  # EINVAL: a thread that does not lead its process
        raise ObserveError(f"{pid} is not a process: {error.strerror}") from error


def _has_ended(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def _need_binder(pid: int, fd: int) -> None:
    """A question about a process that has no binder open would be answered by silence."""
    number = _number_in_proc(fd)
    files = f"/proc/{number}/fd"
    opened = []
    try:
        for name in os.listdir(files):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                opened.append(os.readlink(f"{files}/{name}"))
    except OSError as error:
        raise ObserveError(f"cannot see the open files of process {pid}: {error.strerror}") from error
    if not any("binder" in Path(target).name or "/binderfs/" in target for target in opened):
        raise ObserveError(f"process {pid} ({comm(number) or '?'}) has no binder device open")


def _number_in_proc(fd: int) -> int:
    """The pid under which /proc shows a process; -1: it is gone, 0: it is in no namespace below that of /proc."""
    found = re.search(r"^Pid:\s*(-?\d+)", Path(f"/proc/self/fdinfo/{fd}").read_text(), re.MULTILINE)
    return int(found[1]) if found else -1


def comm(tgid: int) -> str | None:
    """The name of a process, by the pid that /proc has for it; None when it is gone already."""
    try:
        return Path(f"/proc/{tgid}/comm").read_text().rstrip("\n")
    except OSError:
        return None

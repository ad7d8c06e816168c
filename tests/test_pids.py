"""Processes that are asked for by pid: there or not, with binder or without, and what the kernel calls them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from binder_observe.errors import ObserveError
from binder_observe.sources import pids
from binder_observe.sources.pids import NoProcessError, Owners

NOBODY = 1 << 22  # PID_MAX_LIMIT


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_it_is_over_when_the_last_has_ended(child: subprocess.Popen[bytes]) -> None:
    owners = Owners([child.pid, os.getpid()], wait=True)
    assert owners.initial == {child.pid: child.pid, os.getpid(): os.getpid()}
    assert owners.find(lambda pid: 4711) == []  # there is nothing to look up
    end(child)
    assert owners.leave(100) == []
    assert owners.leave(0) == [child.pid]
    assert owners.leave(0) == []
    assert owners.initial == {os.getpid(): os.getpid()}
    assert not owners.all_ended()
    owners.close()
    assert not Owners([]).all_ended()


def test_who_is_waited_for_has_not_ended(monkeypatch: pytest.MonkeyPatch, child: subprocess.Popen[bytes]) -> None:
    there: set[int] = set()
    real = pids.pidfd

    def pidfd(pid: int) -> int:
        return real(pid if pid in there else NOBODY)

    monkeypatch.setattr(pids, "pidfd", pidfd)
    owners = Owners([child.pid], wait=True, inner=True)
    assert owners.find(lambda pid: 4711) == []
    assert not owners.all_ended()
    there.add(child.pid)
    assert owners.find(lambda pid: 4711) == [4711]
    assert owners.find(lambda pid: 4711) == []
    assert owners.initial == {child.pid: 4711}
    assert not owners.all_ended()
    end(child)
    assert owners.leave(0) == [4711]
    assert owners.all_ended()
    assert owners.find(lambda pid: 4712) == []
    owners.close()


def test_one_that_ended_meanwhile_has_no_pid(child: subprocess.Popen[bytes]) -> None:
    owners = Owners([child.pid], wait=True, inner=True)
    assert owners.find(lambda pid: None) == []
    end(child)
    assert owners.find(lambda pid: 4711) == []
    assert owners.leave(0) == []
    assert owners.all_ended()
    owners.close()


def test_without_wait_everybody_has_to_be_there() -> None:
    with pytest.raises(NoProcessError, match=f"no process {NOBODY}"):
        Owners([NOBODY])
    with pytest.raises(ObserveError, match="no binder device open"):
        Owners([os.getpid()])


def test_a_thread_is_not_waited_for() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(ObserveError, match="is not a process"):
            Owners([thread.native_id or 0], wait=True)
    finally:
        done.set()
        thread.join()


def test_files_are_looked_for_where_proc_has_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pids, "_number_in_proc", lambda fd: -1)
    with pytest.raises(ObserveError, match=f"cannot see the open files of process {os.getpid()}"):
        Owners([os.getpid()])


def test_proc_says_its_number_of_a_process(child: subprocess.Popen[bytes]) -> None:
    fd = pids.pidfd(child.pid)
    assert pids._number_in_proc(fd) == child.pid
    end(child)
    assert pids._number_in_proc(fd) == -1
    os.close(fd)

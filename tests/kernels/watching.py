"""Runs in a guest: observers that are watched while they observe, and that end in every way.

    python -m tests.kernels.watching WORKLOAD RESULTS

Each scene has a list of requests of its own (that of lists/known.requests, stopped at places), and leaves behind what
its observer said, what the kernel counted at the same quiet moment, and what there was left of it in the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from binder_observe.errors import ObserveError
from binder_observe.events import Kind
from binder_observe.sources.recording import RecordingSource
from tests.kernels import oracle
from tests.kernels.kernels import cache_directory
from tests.kernels.observers import LIMIT_S, Compiled, Kernel, List, Observer
from tests.kernels.scraped import audit, gauges
from tests.kernels.unit import PROJECT, SYSTEMD, Service, wait_for

_STATS: Final = Path("/sys/kernel/debug/binder/stats")
_KNOWN: Final = (Path(__file__).parent / "lists" / "known.requests").read_text()
_NOBODY: Final = 65534
# What every child would import, and numba load, anew.
_AHEAD: Final = ("commands.export_prometheus", "commands.record", "commands.observe", "commands.top",
                 "exporter.collector", "exporter.server", "top.app", "transitions")  # fmt: skip
_CAP_PERFMON, _CAP_BPF = 38, 39


class Watching:
    """What all scenes share."""

    def __init__(self, program: str, results: Path) -> None:
        self.results = results
        self._program = program
        self._compiled = Compiled()
        self._kernel = Kernel(results)

    def observer(self, name: str, *arguments: str, **more: Any) -> Observer:
        self._compiled.empty()
        return Observer(self.results, name, *arguments, **more)

    def known(self, name: str, *, stops: bool = False) -> List:
        """The list; with `stops` it waits for `go` where most pages are in use, and for `leave` at its end."""
        text = _KNOWN
        if stops:
            text = re.sub(r"^(checkpoint grown\b.*)$", r"\1\ntouch grown\nwait go", text, flags=re.M)
            text += "\ntouch done\nwait leave\n"
        return List(self._program, text, self.results / name)

    def over(self, observer: Observer) -> None:
        observer.wait()
        self.leftovers(observer.name)

    def leftovers(self, name: str) -> None:
        self._kernel.leftovers(name)


def export(w: Watching) -> None:
    """The endpoint, scraped at two quiet moments."""
    o = w.observer("export", "export", "--prometheus", "127.0.0.1:0", "--check", "0.2", "-j")
    o.ready()
    url = re.sub(r"(?s).*(http://\S+)/metrics.*", r"\1", o.said)
    known = w.known("exported", stops=True)

    def scrape(moment: str) -> None:
        o.until(lambda: known.is_at(moment))
        stats = _STATS.read_text()
        text = ""

        def is_there() -> bool:
            nonlocal text
            text = get(f"{url}/metrics")
            return gauges(text) == oracle.parse(stats) and audit(text) == "agreed"

        o.until(is_there)  # what is not so in the end is for the tests to see
        (w.results / f"export.{moment}.metrics").write_text(text)
        (w.results / f"export.{moment}.stats").write_text(stats)

    scrape("grown")
    known.go_on("go")
    scrape("done")
    (w.results / "export.health").write_text(get(f"{url}/healthz"))
    os.kill(o.pid, signal.SIGTERM)
    w.over(o)
    known.go_on("leave")
    known.wait()


def unit(w: Watching) -> None:
    """The service as systemd runs it, started when most pages are there already."""
    if not SYSTEMD.exists():
        return
    known = w.known("served", stops=True)
    while not known.is_at("grown"):
        time.sleep(0.1)
    service = Service(w.results)
    wait_for(service, "Hit Ctrl-C", LIMIT_S)

    def scrape(moment: str) -> None:
        stats = _STATS.read_text()
        text = ""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                text = get(f"{service.url}/metrics")
                if gauges(text) == oracle.parse(stats) and audit(text) == "agreed":
                    break
            time.sleep(0.2)
        (w.results / f"unit.{moment}.metrics").write_text(text)
        (w.results / f"unit.{moment}.stats").write_text(stats)

    scrape("grown")
    known.go_on("go")
    while not known.is_at("done"):
        time.sleep(0.1)
    scrape("done")
    (w.results / "unit.process").write_text(service.main_process())
    service.systemctl("stop")
    (w.results / "unit.end").write_text(service.systemctl("show", "-p", "Result,ExecMainStatus,ActiveState"))
    w.leftovers("unit")
    service.end()
    known.go_on("leave")
    known.wait()


def top(w: Watching) -> None:
    """The screen at two quiet moments, and `q`."""
    o = w.observer("top", "top", "-j", "-o", str(w.results / "top.arrows"), terminal=True)
    o.until(lambda: "not checked" in o.screen)
    known = w.known("shown", stops=True)

    def look(moment: str) -> None:
        o.until(lambda: known.is_at(moment))
        stats = _STATS.read_text()
        counts = {pid: counts for (pid, _), (counts,) in oracle.parse(stats).items()}
        o.until(lambda: all(row(o.screen, pid) == counts[pid][:3] for pid in counts))
        (w.results / f"top.{moment}.screen").write_text(o.screen)
        (w.results / f"top.{moment}.stats").write_text(stats)

    look("grown")
    known.go_on("go")
    look("done")
    o.press("q")
    w.over(o)
    known.go_on("leave")
    known.wait()


def hang_up(w: Watching) -> None:
    """The terminal of top goes away."""
    path = w.results / "hang_up.arrows"
    o = w.observer("hang_up", "top", "-j", "-o", str(path), terminal=True)
    o.until(lambda: "not checked" in o.screen)
    w.known("hung_up").wait()
    o.until(lambda: released(path) == 2)
    o.hang_up()
    w.over(o)


def killed_by(w: Watching, number: signal.Signals, **more: Any) -> None:
    """In the middle of an observation, by what no Python code sees coming."""
    name = number.name.lower()
    path = Path(f"/run/{name}/events.arrows")
    path.parent.mkdir()
    path.parent.chmod(0o777)
    o = w.observer(name, "record", "-o", str(path), **more)
    o.ready()
    w.known(f"{name}_known").wait()
    o.until(lambda: released(path) == 2)
    with contextlib.suppress(ProcessLookupError):
        os.kill(o.pid, number)
    w.over(o)
    shutil.copyfile(path, w.results / f"{name}.arrows")


def refused(w: Watching) -> None:
    """Two capabilities are not enough where the distribution's kernel is more paranoid than the kernel itself."""
    with _paranoid(3):
        w.over(w.observer("refused", "record", "-o", "/run/refused.arrows", prepare=_as_nobody))


def two_capabilities(w: Watching) -> None:
    with _paranoid(2):
        killed_by(w, signal.SIGABRT, prepare=_as_nobody)


def disk_full(w: Watching) -> None:
    """The first events still found room."""
    path = Path("/run/small/events.arrows")
    path.parent.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", str(path.parent)], check=True)
    o = w.observer("disk_full", "record", "-o", str(path))
    o.ready()
    w.known("recorded").wait()
    o.until(lambda: released(path) == 2)
    with contextlib.suppress(OSError), (path.parent / "rest").open("wb", buffering=0) as rest:
        while True:
            rest.write(bytes(1024))
    for n in range(10):  # the last page of the file has some room
        if o.status is not None:
            break
        w.known(f"not_recorded{n}").wait()
        o.until(_after(2.0))
    w.over(o)
    shutil.copyfile(path, w.results / "disk_full.arrows")


def bcc_gone(w: Watching) -> None:
    """Each call of libbcc raises, from one moment on."""
    path, gone = w.results / "bcc_gone.arrows", w.results / "gone"
    o = w.observer("bcc_gone", "record", "-o", str(path), prepare=lambda: _fail_when(gone))
    o.ready()
    w.known("until_bcc_went").wait()
    o.until(lambda: released(path) == 2)
    gone.touch()
    w.over(o)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as reply:
        return str(reply.read().decode())


def row(screen: str, pid: int) -> tuple[int, ...]:
    """Pages active, on the LRU and free, as top shows them."""
    found = re.search(rf"^[▸ ] *{pid} .* binder +(\d+) +(\d+) +(\d+) ", screen, re.M)
    return tuple(map(int, found.groups())) if found else ()


def kinds(path: Path) -> dict[int, int]:
    """How many events of each kind are in a recording that is still being written."""
    found: dict[int, int] = {}
    with contextlib.suppress(ObserveError, FileNotFoundError):
        for batch in RecordingSource(path).batches():
            for kind in batch.kind.tolist():
                found[kind] = found.get(kind, 0) + 1
    return found


def released(path: Path) -> int:
    return kinds(path).get(Kind.RELEASE_END, 0)


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


@contextlib.contextmanager
def _paranoid(level: int) -> Iterator[None]:
    path = Path("/proc/sys/kernel/perf_event_paranoid")
    before = path.read_text()
    path.write_text(str(level))
    yield
    path.write_text(before)


def _no_core() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _as_nobody() -> None:
    """An ordinary user with the two capabilities that README.md asks for, and no other."""
    _no_core()
    libc = ctypes.CDLL(None, use_errno=True)
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    both = 1 << (_CAP_PERFMON - 32) | 1 << (_CAP_BPF - 32)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    data = (ctypes.c_uint32 * 6)(0, 0, 0, both, both, 0)  # effective, permitted, inheritable; low words, high words
    if libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")
    libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as execve() would: else /proc/self is root's


def _fail_when(gone: Path) -> None:
    import bcc
    import bcc.table

    class Lib:
        def __getattr__(self, name: str) -> Any:
            if gone.exists():
                raise RuntimeError(f"{name}: libbcc is gone")
            return getattr(lib, name)

    lib = bcc.lib
    bcc.lib = bcc.table.lib = Lib()


def _open_to_all(path: Path) -> None:
    """Nobody must be able to read the checkout and the kernel's headers; in a guest nothing of this lasts."""
    for directory in (path, *path.parents):
        directory.chmod(directory.stat().st_mode | 0o055)


def main() -> None:
    for place in (PROJECT, sys.prefix, sys.base_prefix, cache_directory()):
        _open_to_all(Path(place).resolve())
    subprocess.run(["busybox", "ifconfig", "lo", "up"], check=True)
    for name in _AHEAD:
        importlib.import_module(f"binder_observe.{name}")
    w = Watching(sys.argv[1], Path(sys.argv[2]))
    scenes: list[Callable[[], None]] = [
        lambda: export(w),
        lambda: unit(w),
        lambda: top(w),
        lambda: hang_up(w),
        lambda: refused(w),
        lambda: two_capabilities(w),
        lambda: killed_by(w, signal.SIGSEGV, prepare=_no_core),
        lambda: disk_full(w),
        lambda: bcc_gone(w),
    ]
    for scene in scenes:
        begin = time.monotonic()
        scene()
        print(f"{time.monotonic() - begin:.1f} s", flush=True)


if __name__ == "__main__":
    main()

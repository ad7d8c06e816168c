"""Loads and attaches the BPF programs of `probes/`. The only file that uses bcc."""

from __future__ import annotations

import atexit
import ctypes
import mmap
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from binder_observe.errors import ObserveError, UnsupportedError
from binder_observe.events import SHRINKER_CALLBACK, TABLE, Kind
from binder_observe.sources.bcc_loader import load_bcc
from binder_observe.sources.btf import Btf
from binder_observe.sources.selection import CONTEXT_BYTES, Selection
from binder_observe.sources.snapshot import Step, run_once

DEFAULT_RING_BYTES: Final = 8 << 20
MAX_ALLOCS: Final = 16384
# Functions of binder_alloc.c that binder.c calls, so they exist whatever the compiler inlines.
_RELEASE: Final = "binder_alloc_deferred_release"
_MMAP: Final = "binder_alloc_mmap_handler"
_PROGRAM: Final = "binder_pages.c"
_SNAPSHOT: Final = "snapshot.c"
_SKIPS: Final = "skips.c"
_PROCESSES: Final = "processes.c"
_RENAME: Final = "task_rename"  # the tracepoint, and its program
# Spare programs behind the first one of each tracepoint. If one program misses a share m of the events, all four miss
# m to the fourth power of them.
_SPARES: Final = 3
P = ParamSpec("P")
T = TypeVar("T")


def probes_directory() -> Path:
    """Where the BPF sources are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for directory in (package / "probes", package.parent / "probes"):
        if (directory / _PROGRAM).is_file():
            return directory
    raise ObserveError(f"{_PROGRAM} is missing from this installation of binder-observe; install it again")


def check_ring_bytes(size: int) -> int:
    """Raises ObserveError unless the kernel takes a ring buffer of that size (a power of two of pages)."""
    if size < mmap.PAGESIZE or size & (size - 1) or size > 1 << 30:
        raise ObserveError(
            f"a ring buffer of {size} bytes is not possible; give a power of two from {mmap.PAGESIZE} to {1 << 30}"
        )
    return size


def layout(btf: Btf) -> dict[str, int]:
    """The offsets that `binder_pages.c` asks for, in bytes, by the names of its defines."""
    return {
        "ALLOC_PID": btf.offset("binder_alloc", "pid"),
        "ALLOC_SIZE": btf.offset("binder_alloc", "buffer_size"),
        "ALLOC_HIGH": btf.offset("binder_alloc", "pages_high"),
        "PROC_ALLOC": btf.offset("binder_proc", "alloc"),
        "PROC_CONTEXT": btf.offset("binder_proc", "context"),
        "PROC_TSK": btf.offset("binder_proc", "tsk"),
        "CONTEXT_NAME": btf.offset("binder_context", "name"),
        "TASK_COMM": btf.offset("task_struct", "comm"),
    }


def tracepoints_are_preemptible(btf: Btf, version: str) -> bool:
    """Whether a task may be preempted inside a raw tracepoint's program; `version` is that of uname.

    Tracepoints went from disabled preemption to SRCU-fast in 7.x; struct srcu_ctr came with SRCU-fast (6.15), so this
    is true too early for a few kernels, where it costs a little time and nothing else.
    """
    return btf.has_struct("srcu_ctr") and "PREEMPT" in version


def _asks_bcc(method: Callable[P, T]) -> Callable[P, T]:
    """bcc raises whatever it likes; what it could do a moment ago fails for no reason that we could know of."""

    @wraps(method)
    def ask(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except ObserveError:
            raise
        except Exception as error:
            raise ObserveError(
                f"bcc failed while the probes were attached ({type(error).__name__}: {error}); start it again"
            ) from error

    return ask


class Probes:
    """The compiled programs with their maps. Attached by `attach()`; `close()` leaves nothing behind.

    Once attached, every method raises ObserveError where bcc fails.

    The filters have the names and contexts of `selection`; its pids, which may be of another namespace, they get from
    `add_owner()`.
    `snapshot` is what `snapshot.layout()` and `snapshot.binder_procs()` found, None where page states cannot be read;
    `processes` what `processes.layout()` found, None where no process is to be looked up; `skips` what `skips.layout()`
    found, None where the shrinker's callback is not to be probed.

    Raises UnsupportedError (no bcc, no headers, no BTF, a tracepoint that is essential missing) with what mends it.
    """

    def __init__(
        self,
        offsets: dict[str, int],
        selection: Selection,
        latency: bool,
        ring_bytes: int,
        spares: bool,
        snapshot: dict[str, int] | None = None,
        processes: dict[str, int] | None = None,
        skips: dict[str, int] | None = None,
    ) -> None:
        bcc = load_bcc()
        self._latency = latency
        self._ring_bytes = check_ring_bytes(ring_bytes)
        defines = {**offsets, **(snapshot or {}), **(processes or {}), **(skips or {})}
        defines |= {"RING_PAGES": ring_bytes // mmap.PAGESIZE, "MAX_ALLOCS": MAX_ALLOCS}
        self._selection = selection
        self._processes = processes is not None
        comms = selection.comms()
        sizes = {"OWNER": len(selection.pids), "NAME": len(comms), "CONTEXT": len(selection.contexts)}
        defines |= {f"FILTER_{name}": size for name, size in sizes.items() if size}
        if latency:
            defines["LATENCY"] = 1
        if spares:
            defines["SPARES"] = 1
        self._spares = _SPARES if spares else 0
        self._links: list[int] = []  # of the raw tracepoints, in the order in which the kernel calls them
        self._programs: list[int] = []
        self._first: dict[Kind, int] = {}  # the first program of each tracepoint
        source = probes_directory()
        # One text: bcc rewrites the uses of maps in the main file and in none that it includes.
        added = ((_SNAPSHOT, snapshot), (_PROCESSES, processes), (_SKIPS, skips))
        parts = (_PROGRAM, *(part for part, found in added if found))
        text = "".join((source / name).read_text() for name in parts)
        cflags = [f"-D{name}={value}" for name, value in defines.items()]
        cflags += ["-I", str(source), "-w"]
        with _compiler_output() as said:
            try:
                self._bpf: Any = bcc.BPF(text=text, cflags=cflags)
            except Exception as error:
                raise UnsupportedError(
                    _why(f"bcc cannot compile the probes ({error})", said), "binder-observe doctor"
                ) from error
        self._raw_tracepoint: int = bcc.BPF.RAW_TRACEPOINT
        for comm in comms:
            self._bpf["names"][self._bpf["names"].Key(comm)] = ctypes.c_uint8(1)
        for context in selection.contexts:
            name = os.fsencode(context)[:CONTEXT_BYTES]
            self._bpf["contexts"][self._bpf["contexts"].Key(name)] = ctypes.c_uint8(1)
        self._skips = skips is not None
        self._on_demand: dict[str, int] = {}  # programs that are run when they are needed
        self.attached: list[str] = []
        self.missing: list[str] = []
        self.notes: list[str] = []

    def attach(self) -> None:
        """Release and mmap first, so that no alloc is seen whose end could be missed; then the tracepoints; then the
        shrinker's callback, which is done without where it cannot be probed.

        The return before the entry: a call that was entered with only one of the two there would never seem to end.
        """
        with _compiler_output() as said:
            try:
                for function, program in ((_RELEASE, "release"), (_MMAP, "mmap")):
                    self._attach_function(function, program)
            except Exception as error:
                raise UnsupportedError(
                    _why(f"cannot probe {function} ({error})", said), "binder-observe doctor"
                ) from error
            for row in TABLE:
                if row.tracepoint is None or not (row.default or self._latency):
                    continue
                try:
                    program_name = row.kind.name.lower()
                    self._first[row.kind] = self._attach(row.tracepoint, program_name)
                    for _ in range(self._spares):
                        self._attach(row.tracepoint, f"spare_{program_name}")
                    self.attached.append(row.tracepoint)
                except Exception as error:
                    if row.essential:
                        raise UnsupportedError(
                            _why(f"cannot attach to the tracepoint binder:{row.tracepoint} ({error})", said),
                            "binder-observe doctor",
                        ) from error
                    self.missing.append(row.tracepoint)
            if self._skips:
                try:
                    self._attach_function(SHRINKER_CALLBACK, "free_page")
                except Exception as error:
                    for event in [e for e in self._bpf.kprobe_fds if e.endswith(SHRINKER_CALLBACK.encode())]:
                        self._bpf.detach_kprobe_event(event)
                    self.notes.append(
                        f"what the shrinker skips is not seen: cannot probe {SHRINKER_CALLBACK} ({error})"
                    )
            if self._selection.names:
                try:
                    self._attach(_RENAME, _RENAME)
                except Exception:
                    self.missing.append(_RENAME)

    def _attach_function(self, function: str, program: str) -> None:
        self._bpf.attach_kretprobe(event=function, fn_name=f"{program}_return")
        self._bpf.attach_kprobe(event=function, fn_name=f"{program}_entry")
        self.attached.append(function)

    def _attach(self, tracepoint: str, program: str) -> int:
        """Loads one more copy of a program and attaches it behind those that are there; returns its descriptor."""
        loaded = self._bpf.load_func(program, self._raw_tracepoint)
        self._bpf.attach_raw_tracepoint(tp=tracepoint, fn_name=program)
        # bcc keeps one program a function and one link a tracepoint: from here on they are ours to close
        self._bpf.funcs.pop(program.encode())
        self._programs.append(int(loaded.fd))
        self._links.append(int(self._bpf.raw_tracepoint_fds.pop(tracepoint.encode())))
        return int(loaded.fd)

    @_asks_bcc
    def detach(self) -> None:
        """Stops new events; what is in the ring stays readable."""
        while self._links:
            os.close(self._links.pop())  # last first: a spare without the program before it would take all
        for event in list(self._bpf.kprobe_fds):
            self._bpf.detach_kprobe_event(event)

    def close(self) -> None:
        with suppress(ObserveError):  # the end of this process closes what bcc cannot
            self.detach()
        while self._programs:
            os.close(self._programs.pop())
        try:
            self._bpf.cleanup()
        except Exception:
            atexit.unregister(self._bpf.cleanup)  # it would fail there again

    @_asks_bcc
    def walk_step(self) -> Step:
        """Reads the states of up to 32 pages into the ring; after DONE the next walk begins.

        Raises UnsupportedError where the kernel does not load the program, or cannot run one on demand.
        """
        return Step(self._run("snapshot"))

    @_asks_bcc
    def find_process(self, pid: int, *, inner: bool) -> tuple[int, str] | None:
        """(pid in the initial namespace, comm) of the process that has this pid there, or `inner`: in our namespace.

        Raises UnsupportedError where the kernel does not load the program, or cannot run one on demand.
        """
        if not self._processes:
            raise UnsupportedError("the kernel's table of pids is not known")
        table = self._bpf["process"]
        table[ctypes.c_uint32(0)] = table.Leaf(pid, inner)
        if not self._run("find_process"):
            return None
        found = table[ctypes.c_uint32(0)]
        return int(found.pid), bytes(found.comm.text).decode(errors="replace")

    def _run(self, name: str) -> int:
        if name not in self._on_demand:
            with _compiler_output() as said:
                try:
                    self._on_demand[name] = int(self._bpf.load_func(name, self._raw_tracepoint).fd)
                except Exception as error:
                    raise UnsupportedError(_why(f"cannot load the program {name} ({error})", said)) from error
        return run_once(self._on_demand[name])

    @_asks_bcc
    def add_owner(self, pid: int) -> None:
        """One more of the selected owners, by its pid in the initial namespace."""
        self._bpf["owners"][ctypes.c_uint32(pid)] = ctypes.c_uint8(1)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._bpf["widened"][ctypes.c_uint32(0)] = ctypes.c_uint64(now)

    @_asks_bcc
    def remove_owner(self, pid: int) -> None:
        """What is known to be this owner's is followed further; nothing new is."""
        del self._bpf["owners"][ctypes.c_uint32(pid)]

    @_asks_bcc
    def widened_ns(self) -> int:
        """When somebody new came to fit the selection: a name was given, or an owner added (CLOCK_BOOTTIME); or 0."""
        return int(self._bpf["widened"][ctypes.c_uint32(0)].value) if self._selection else 0

    @_asks_bcc
    def any_selected(self) -> bool:
        """Whether any alloc was seen that is selected."""
        return bool(self._bpf["last_number"][ctypes.c_uint32(0)].value)

    @property
    def ring(self) -> tuple[int, int]:
        """The ring buffer map's file descriptor and its size in bytes."""
        return int(self._bpf["ring"].map_fd), self._ring_bytes

    @_asks_bcc
    def description(self, number: int) -> tuple[int, int, int, str, str] | None:
        """(owner pid, mapping pages, pages_high, comm, context) of an alloc."""
        try:
            found = self._bpf["descriptions"][ctypes.c_uint32(number)]
        except KeyError:
            return None
        return (
            int(found.pid), int(found.pages), int(found.high),
            bytes(found.comm.text).decode(errors="replace"), bytes(found.context.text).decode(errors="replace"),
        )  # fmt: skip

    @_asks_bcc
    def forget(self, number: int) -> None:
        """Drops the description of a released alloc."""
        try:
            del self._bpf["descriptions"][ctypes.c_uint32(number)]
        except KeyError:
            return

    @_asks_bcc
    def lost_totals(self) -> tuple[int, int]:
        """Events lost so far, exactly: for want of room in the ring, and in the table of allocs."""
        table = self._bpf["lost"]
        return int(table.sum(ctypes.c_uint32(0)).value), int(table.sum(ctypes.c_uint32(1)).value)

    @_asks_bcc
    def missed(self) -> int:
        """Events that no program was run for so far; one too many now and then, while a spare is about to take it."""
        missed = sum(_recursion_misses(fd) for fd in self._first.values())
        if not missed:
            return 0
        table = self._bpf["rescued"]
        return missed - sum(int(table.sum(ctypes.c_uint32(kind)).value) for kind in self._first)

    @_asks_bcc
    def lost_by_alloc(self) -> dict[int, tuple[int, bool]]:
        """Per alloc number: events lost so far, and whether it is released."""
        found = {int(k.number): (int(k.lost), False) for k in self._bpf["allocs"].values() if k.number}
        for number, description in self._bpf["descriptions"].items():
            if description.released:
                found[int(number.value)] = (int(description.lost), True)
        return found


def tracepoint_kinds(latency: bool) -> list[Kind]:
    """The kinds that are probed."""
    return [row.kind for row in TABLE if row.tracepoint and (row.default or latency)]


def _recursion_misses(program: int) -> int:
    """How often the kernel skipped a program because it was being run on that CPU already (fdinfo, since 5.12)."""
    found = re.search(r"^recursion_misses:\s*(\d+)", Path(f"/proc/self/fdinfo/{program}").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


@contextmanager
def _compiler_output() -> Iterator[Path]:
    """Keeps what clang and libbpf write on file descriptor 2 off the terminal; yields where it goes."""
    with tempfile.NamedTemporaryFile(prefix="binder-observe-") as sink:
        saved = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield Path(sink.name)
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _why(what: str, said: Path) -> str:
    """The failure with the compiler's or verifier's first error line, where there is one."""
    lines = said.read_text(errors="replace").splitlines()
    error = next((line.strip() for line in lines if "error" in line.lower()), lines[-1].strip() if lines else "")
    return f"{what}: {error}" if error else what

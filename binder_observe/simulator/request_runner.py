"""Executes a request list on the model, one request after the other, as workload.c does on a real kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from errno import ESRCH
from typing import Any, Final

from binder_observe.events import EventBatch, Kind, concat
from binder_observe.simulator.buffers import BinderBuffer
from binder_observe.simulator.driver import (
    KWORKER,
    BinderProc,
    Context,
    Process,
    binder_free_buf,
    binder_mmap,
    binder_open,
    binder_transaction,
    close,
    default_mapping_bytes,
    exit_process,
    inherit,
    unmap,
)
from binder_observe.simulator.faults import Faults
from binder_observe.simulator.flood import flood
from binder_observe.simulator.kernel import Kernel
from binder_observe.simulator.requests import Request, RequestList
from binder_observe.simulator.scheduler import Steps, run_alone
from binder_observe.simulator.trace import Task
from binder_observe.simulator.truth import Truth
from binder_observe.simulator.vmscan import drop_slab

FIRST_PID: Final = 1001
RECLAIM_WRITES: Final = 20
CONTROLLER: Final = Task(1000, 1000, "workload")
MS: Final = 1_000_000

Stats = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What binder's `stats` file would have said: (process, context, (active, lru, free, pages_high)) for each file.

    A file that lives on in a child is listed under its opener, as the kernel does; so one process can have two of a
    context.
    """

    name: str
    ts_ns: int
    stats: list[tuple[str, str, Stats]]


@dataclass(slots=True)
class RequestRun:
    """What came of a list.

    `events` is the whole stream, marks and descriptions included; `log` has one entry a request, with the keys of
    workload.c's log.jsonl; `allocs` maps each open file of the list, in order, to the alloc's number in the events.
    """

    kernel: Kernel
    events: EventBatch
    log: list[dict[str, Any]]
    checkpoints: list[Checkpoint]
    pids: dict[str, int]
    allocs: list[int]
    final: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    """(page states, pages_high) by alloc: at the end, or just before its release."""
    truth: Truth | None = None


def _failure(error: int) -> str:
    """What binder_transaction() returns to user space for an error of the allocator."""
    return "BR_DEAD_REPLY" if error == -ESRCH else "BR_FAILED_REPLY"


class _Runner:
    def __init__(self, kernel: Kernel, requests: RequestList) -> None:
        self.kernel = kernel
        self.requests = requests
        self.contexts: dict[str, Context] = {}
        self.processes: dict[str, Process] = {}
        self.files: list[BinderProc] = []
        self.held: dict[tuple[int, bool], BinderBuffer] = {}  # by transaction, and whether it is the reply
        self.checkpoints: list[Checkpoint] = []
        self.log: list[dict[str, Any]] = []
        trace = kernel.trace
        trace.describe(Kind.PROCESS, 0, 0, CONTROLLER.comm, CONTROLLER)
        trace.describe(Kind.PROCESS, 0, 0, KWORKER.comm, KWORKER)
        trace.current = CONTROLLER

    def run(self, end: bool) -> None:
        for request in self.requests.requests:
            entry: dict[str, Any] = {"line": request.line, "request": request.text, "ok": True, "error": None}
            getattr(self, f"_{request.verb}")(request, entry)
            entry["ts_ns"] = self.kernel.trace.now
            self.log.append(entry)
        if end:
            for process in list(self.processes.values()):
                self._as(process.task, exit_process(process))

    def _as(self, task: Task, steps: Steps[Any]) -> Any:
        trace = self.kernel.trace
        trace.current = task
        trace.now += 1_000
        result = run_alone(steps)
        trace.current = CONTROLLER
        return result

    def _process(self, name: str) -> Process:
        process = Process(self.kernel, FIRST_PID + len(self.processes), name[:15])
        self.processes[name] = process
        return process

    def _open(self, request: Request, entry: dict[str, Any]) -> None:
        assert request.actor is not None
        assert request.file is not None
        process = self.processes.get(request.actor) or self._process(request.actor)
        name = self.requests.files[request.file].context
        context = self.contexts.setdefault(name, Context(name))
        proc = binder_open(process, context)
        self.files.append(proc)
        binder_mmap(proc, request.numbers["bytes"] or default_mapping_bytes(self.kernel.page_size))
        entry["pid"] = process.task.tgid
        entry["manager"] = request.manager

    def _call(self, request: Request, entry: dict[str, Any]) -> None:
        number = request.transaction
        assert number is not None
        sent = self.requests.transactions[number]
        arrived = self._send(request, entry, False)
        failed_half = "call"
        if arrived is not None:
            self.held[number, False] = arrived
            entry["offset"] = arrived.user_data
            failed_half = "reply"
            assert sent.manager_file is not None
            server = self.files[sent.manager_file].opener
            caller = self.files[sent.sender_file]
            reply = self._as(server.task, binder_transaction(server, caller, request.numbers["reply"], 0, 0, False))
            if isinstance(reply, BinderBuffer):
                self.held[number, True] = reply
                entry["reply_offset"] = reply.user_data
                return
            entry["ok"] = False
            entry["error"] = _failure(reply)
        entry["failed"] = failed_half

    def _oneway(self, request: Request, entry: dict[str, Any]) -> None:
        assert request.transaction is not None
        arrived = self._send(request, entry, True)
        if arrived is not None:
            self.held[request.transaction, False] = arrived

    def _send(self, request: Request, entry: dict[str, Any], oneway: bool) -> BinderBuffer | None:
        assert request.actor is not None
        assert request.transaction is not None
        sent = self.requests.transactions[request.transaction]
        buffer: BinderBuffer | int = -ESRCH
        if sent.manager_file is not None:
            sender = self.processes[request.actor]
            n = request.numbers
            buffer = self._as(
                sender.task,
                binder_transaction(
                    sender, self.files[sent.manager_file], n["data"], 8 * n["objects"], n["extra"], oneway
                ),
            )
        if isinstance(buffer, BinderBuffer):
            return buffer
        entry["ok"] = False
        entry["error"] = _failure(buffer)
        return None

    def _free(self, request: Request, entry: dict[str, Any]) -> None:
        assert request.transaction is not None
        buffer = self.held.pop((request.transaction, request.reply_half), None)
        if buffer is None:
            entry["skipped"] = True
            return
        assert request.file is not None
        proc = self.files[request.file]
        entry["offset"] = buffer.user_data
        ret = self._as(proc.opener.task, binder_free_buf(proc.opener, proc, buffer))
        assert ret == 0, "the list's reader lets only deliverable buffers be freed"

    def _reclaim(self, request: Request, entry: dict[str, Any]) -> None:
        """Writes drop_caches until nothing is parked or nothing changes, like workload_kernel.c."""
        parked = -1
        writes = 0
        while True:
            self._as(CONTROLLER, drop_slab(self.kernel))
            writes += 1
            before = parked
            parked = sum(alloc.stats()[1] for alloc in self.kernel.allocs.values())
            if not parked or parked == before or writes >= RECLAIM_WRITES:
                break
        entry["writes"] = writes

    def _unmap(self, request: Request, entry: dict[str, Any]) -> None:
        assert request.file is not None
        proc = self.files[request.file]
        self._as(proc.opener.task, unmap(proc))

    def _close(self, request: Request, entry: dict[str, Any]) -> None:
        assert request.actor is not None
        assert request.file is not None
        proc = self.files[request.file]
        process = self.processes[request.actor]
        if proc.opener is process:
            self._as(process.task, unmap(proc))
        trace = self.kernel.trace
        trace.current = process.task
        close(process, proc)
        trace.current = CONTROLLER

    def _exit(self, request: Request, entry: dict[str, Any]) -> None:
        assert request.actor is not None
        process = self.processes[request.actor]
        self._as(process.task, exit_process(process))

    def _fork(self, request: Request, entry: dict[str, Any]) -> None:
        assert request.actor is not None
        assert request.child is not None
        child = self._process(request.child)
        inherit(child, self.processes[request.actor])
        entry["pid"] = child.task.tgid

    def _flood(self, request: Request, entry: dict[str, Any]) -> None:
        assert request.file is not None
        actors = list(self.processes)
        senders = [(actors.index(name), self.files[file]) for name, file in request.senders]
        entry.update(flood(self.kernel, self.files[request.file], senders, request.numbers, request.mode))
        trace = self.kernel.trace
        trace.current = CONTROLLER

    def _sleep(self, request: Request, entry: dict[str, Any]) -> None:
        trace = self.kernel.trace
        trace.now += request.numbers["ms"] * MS

    def _checkpoint(self, request: Request, entry: dict[str, Any]) -> None:
        now = self.kernel.trace.now
        names = {process.task.tgid: name for name, process in self.processes.items()}
        stats = [
            (names[proc.opener.task.tgid], proc.context.name, proc.alloc.stats())
            for proc in self.files
            if not proc.is_dead
        ]
        self.checkpoints.append(Checkpoint(request.name, now, stats))
        entry["taken_ns"] = now

    def _wait(self, request: Request, entry: dict[str, Any]) -> None:
        """Nothing outside the model is waited for."""

    _touch = _wait

    def _rename(self, request: Request, entry: dict[str, Any]) -> None:
        """A process has the list's name for it from its first event to its last."""


def run_requests(
    requests: RequestList,
    *,
    generation: str = "6.14",
    page_size: int = 4096,
    seed: int = 0,
    end: bool = True,
    faults: Faults | None = None,
    truth: bool = False,
) -> RequestRun:
    """Runs a list on a new machine.

    Args:
        seed: decides times, and how the threads of a flood meet; nothing else.
        end: at the end of the list the processes that are left exit, as in workload.c.
        faults: what is to fail on the way.
        truth: write down every life as the model knows it.
    """
    kernel = Kernel(generation, page_size=page_size, seed=seed)
    kernel.faults = faults
    kernel.emit(Kind.ATTACH)
    kernel.truth = Truth(kernel.trace) if truth else None
    runner = _Runner(kernel, requests)
    runner.run(end)
    kernel.emit(Kind.DETACH)
    events = concat([kernel.trace.take()])
    live = {a.number: (a.page_states(), a.pages_high) for a in kernel.allocs.values()}
    return RequestRun(
        kernel=kernel,
        events=events,
        log=runner.log,
        checkpoints=runner.checkpoints,
        pids={name: process.task.tgid for name, process in runner.processes.items()},
        allocs=[proc.alloc.number for proc in runner.files],
        final={**(kernel.truth.final if kernel.truth else {}), **live},
        truth=kernel.truth,
    )

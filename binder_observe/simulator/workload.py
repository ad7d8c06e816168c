"""Runs a scenario on the model: its processes and their threads, as generators under the scheduler."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from binder_observe.events import Kind
from binder_observe.simulator.buffers import BinderBuffer
from binder_observe.simulator.distributions import QUANTILES, draw
from binder_observe.simulator.driver import (
    KWORKER,
    BinderProc,
    Context,
    Process,
    binder_free_buf,
    binder_mmap,
    binder_open,
    binder_transaction,
    default_mapping_bytes,
    exit_process,
)
from binder_observe.simulator.kernel import Kernel
from binder_observe.simulator.scenario_tables import Demand, ProcessGroup, Reclaim, Scenario, Traffic
from binder_observe.simulator.scheduler import Steps, Thread
from binder_observe.simulator.trace import Task
from binder_observe.simulator.vmscan import drop_slab, start_kswapd, try_to_free_pages

# Threads of a process that serve calls: DEFAULT_MAX_BINDER_THREADS (15) of libbinder's ProcessState.cpp, and its first.
POOL_THREADS: Final = 16
WAKE_NS: Final = 15_000  # from one process to a thread of the other: a wake-up and a switch. A choice.
SECOND: Final = 1_000_000_000


class _Member:
    """One running process of a group, with its file of each context."""

    __slots__ = ("idle", "index", "looper", "process", "procs", "queue", "threads", "todo")

    def __init__(self, process: Process, index: int) -> None:
        self.process = process
        self.index = index
        self.procs: dict[str, BinderProc] = {}
        # Its pool of threads that serve calls: those without work, how many there are, and callers that wait for one.
        self.idle: list[Task] = []
        self.threads = 0
        self.queue: deque[Thread] = deque()
        # One-way work, handled in order by one thread: (what, how long, kept for good).
        self.todo: deque[tuple[BinderProc, BinderBuffer, int, bool]] = deque()
        self.looper: Thread | None = None  # set while it sleeps


def _choose(members: list[_Member], sender: _Member, random: Random) -> _Member | None:
    """One of those alive, None when there is nobody else; alone, it costs no random number."""
    count = len(members)
    if count == 1:
        member = members[0]
    elif not count:
        return None
    else:
        member = members[int(random.random() * count)]
    return None if member is sender else member


class Workload:
    """A scenario under way on a kernel. `outcomes` counts transactions by how they ended."""

    def __init__(self, kernel: Kernel, scenario: Scenario, seed: int) -> None:
        self.kernel = kernel
        self.scenario = scenario
        self.outcomes: Counter[str] = Counter()
        self._seed = seed
        self._start_ns = kernel.trace.now
        self._next_pid = 1000
        self._contexts: dict[str, Context] = {}
        self._alive: dict[str, list[_Member]] = {group.name: [] for group in scenario.process}
        kernel.trace.describe(Kind.PROCESS, 0, 0, KWORKER.comm, KWORKER)
        if scenario.memory is not None:
            kernel.memory.limit(scenario.memory.free_pages, scenario.memory.cache_pages)
            kswapd = self._task("kswapd0")
            start_kswapd(kernel, kswapd)
        for group in scenario.process:
            self._start_group(group)
        for demand in scenario.demand:
            self._spawn(demand.name, partial(self._demand, demand), demand.start_s)
        for reclaim in scenario.reclaim:
            self._spawn("sh", partial(self._reclaim, reclaim), reclaim.start_s)

    @property
    def procs(self) -> list[BinderProc]:
        """The files of all processes alive, in the order of their groups."""
        return [proc for members in self._alive.values() for m in members for proc in m.procs.values()]

    def _pid(self) -> int:
        self._next_pid += 1
        return self._next_pid

    def _random(self, *names: object) -> Random:
        """Random numbers of their own for each thread, so that none depends on how others interleave."""
        return Random(":".join(str(n) for n in (self._seed, *names)))

    def _task(self, comm: str) -> Task:
        pid = self._pid()
        task = Task(pid, pid, comm, pid % self.scenario.cpus)
        self.kernel.trace.describe(Kind.PROCESS, 0, 0, comm, task)
        return task

    def _spawn(self, comm: str, steps: Callable[[Task], Steps[None]], start_s: float) -> None:
        task = self._task(comm)
        self.kernel.scheduler.spawn(task, steps(task), delay_ns=round(start_s * SECOND))

    # Processes.

    def _start_group(self, group: ProcessGroup) -> None:
        random = self._random("group", group.name)
        for index in range(group.count):
            start_ns = draw(group.start_s, random)
            if start_ns == 0 and group.life_s is None:
                self._start(group, index, 0)
            else:
                init = Task(1, 1, "init")
                self.kernel.scheduler.spawn(init, self._keep(group, index, random), delay_ns=start_ns)

    def _keep(self, group: ProcessGroup, index: int, random: Random) -> Steps[None]:
        """Starts a member, ends it, starts its successor..."""
        scheduler = self.kernel.scheduler
        generation = 0
        while True:
            member = self._start(group, index, generation)
            if group.life_s is None:
                return
            if scheduler.passes(draw(group.life_s, random)):
                yield
            self._alive[group.name].remove(member)
            scheduler.become(member.process.task)
            yield from exit_process(member.process)
            if member.looper is not None:
                scheduler.wake(member.looper)
            while member.queue:
                scheduler.wake(member.queue.popleft())
            if group.respawn_s is None:
                return
            if scheduler.passes(draw(group.respawn_s, random)):
                yield
            generation += 1

    def _start(self, group: ProcessGroup, index: int, generation: int) -> _Member:
        kernel = self.kernel
        pid = self._pid()
        comm = group.name if group.count == 1 else f"{group.name[: 15 - len(str(index)) - 1]}-{index}"
        process = Process(kernel, pid, comm, pid % self.scenario.cpus)
        member = _Member(process, index)
        mapping = default_mapping_bytes(kernel.page_size)
        if group.mapping_kib is not None:
            mapping = round(group.mapping_kib * 1024)
        for name in group.contexts:
            context = self._contexts.setdefault(name, Context(name))
            proc = member.procs[name] = binder_open(process, context)
            binder_mmap(proc, mapping)
        self._alive[group.name].append(member)
        if any(traffic.to == group.name and traffic.kind == "oneway" for traffic in self.scenario.traffic):
            kernel.scheduler.spawn(self._thread_of(process), self._looper(member))
        for number, traffic in enumerate(self.scenario.traffic):
            if traffic.sender != group.name:
                continue
            send = self._oneways if traffic.kind == "oneway" else self._calls
            for thread in range(traffic.threads):
                random = self._random("traffic", number, index, generation, thread)
                wait_s = traffic.start_s - (kernel.trace.now - self._start_ns) / SECOND
                delay_ns = max(0, round(wait_s * SECOND)) + int(random.random() * draw(traffic.interval_us, random))
                kernel.scheduler.spawn(self._thread_of(process), send(member, traffic, random), delay_ns=delay_ns)
        return member

    def _thread_of(self, process: Process) -> Task:
        pid = self._pid()
        return Task(process.task.tgid, pid, process.task.comm, pid % self.scenario.cpus)

    # Traffic.

    def _stop_ns(self, traffic: Traffic) -> int:
        """When a thread that starts now has sent enough."""
        burst_ends = self.kernel.trace.now + round(traffic.burst_s * SECOND)
        return min(self._start_ns + round(traffic.stop_s * SECOND), burst_ends)

    def _calls(self, client: _Member, traffic: Traffic, random: Random) -> Steps[None]:
        """One thread that calls, waits for the reply, keeps it for a while, and pauses."""
        trace = self.kernel.trace
        scheduler = self.kernel.scheduler
        passes, become = scheduler.passes, scheduler.become
        outcomes = self.outcomes
        client_process = client.process
        client_proc = client.procs[traffic.context]
        servers = self._alive[traffic.to]
        assert scheduler.running is not None
        client_task = scheduler.running.task
        stop_ns = self._stop_ns(traffic)
        uniform = random.random
        intervals, handle_us, hold_us = traffic.interval_us, traffic.handle_us, traffic.hold_us
        data_bytes, objects, reply_bytes = traffic.data_bytes, traffic.objects, traffic.reply_bytes
        extra_bytes = traffic.extra_bytes
        leak = traffic.leak
        while True:
            if passes(intervals[int(uniform() * QUANTILES)]):
                yield
            if client_process.exited or trace.now >= stop_ns:
                return
            server = _choose(servers, client, random)
            if server is None:
                outcomes["nobody"] += 1
                continue
            server_process = server.process
            server_proc = server.procs[traffic.context]
            buffer = yield from binder_transaction(
                client_process,
                server_proc,
                data_bytes[int(uniform() * QUANTILES)],
                8 * objects[int(uniform() * QUANTILES)],
                extra_bytes[int(uniform() * QUANTILES)],
                False,
            )
            if isinstance(buffer, int):
                outcomes[f"call {buffer}"] += 1
                continue

            idle = server.idle
            while not idle and server.threads == POOL_THREADS and not server_process.exited:
                waiter = scheduler.blocks()
                assert waiter is not None
                server.queue.append(waiter)
                yield
            if idle:
                server_task = idle.pop()
            else:
                server.threads += 1
                server_task = self._thread_of(server_process)
            if passes(WAKE_NS + handle_us[int(uniform() * QUANTILES)]):
                yield
            if server_proc.is_dead or server_process.exited:
                outcomes["call died"] += 1
                continue
            become(server_task)
            # libbinder frees the request before it replies (IPCThreadState::executeCommand(), BR_TRANSACTION).
            if not (leak and uniform() < leak):
                yield from binder_free_buf(server_process, server_proc, buffer)
            reply: BinderBuffer | int = yield from binder_transaction(
                server_process, client_proc, reply_bytes[int(uniform() * QUANTILES)], 0, 0, False
            )
            idle.append(server_task)
            if server.queue:
                scheduler.wake(server.queue.popleft())
            if isinstance(reply, int):
                outcomes[f"reply {reply}"] += 1
                become(client_task)
                continue
            outcomes["call"] += 1
            if passes(WAKE_NS + hold_us[int(uniform() * QUANTILES)]):
                yield
            become(client_task)
            if client_process.exited:
                return
            if not (leak and uniform() < leak):
                yield from binder_free_buf(client_process, client_proc, reply)

    def _oneways(self, client: _Member, traffic: Traffic, random: Random) -> Steps[None]:
        """One thread that sends and does not wait."""
        trace = self.kernel.trace
        scheduler = self.kernel.scheduler
        passes = scheduler.passes
        outcomes = self.outcomes
        client_process = client.process
        servers = self._alive[traffic.to]
        stop_ns = self._stop_ns(traffic)
        uniform = random.random
        intervals, handle_us = traffic.interval_us, traffic.handle_us
        data_bytes, objects, extra_bytes = traffic.data_bytes, traffic.objects, traffic.extra_bytes
        leak = traffic.leak
        while True:
            if passes(intervals[int(uniform() * QUANTILES)]):
                yield
            if client_process.exited or trace.now >= stop_ns:
                return
            server = _choose(servers, client, random)
            if server is None:
                outcomes["nobody"] += 1
                continue
            server_proc = server.procs[traffic.context]
            buffer = yield from binder_transaction(
                client_process,
                server_proc,
                data_bytes[int(uniform() * QUANTILES)],
                8 * objects[int(uniform() * QUANTILES)],
                extra_bytes[int(uniform() * QUANTILES)],
                True,
            )
            if isinstance(buffer, int):
                outcomes[f"oneway {buffer}"] += 1
                continue
            outcomes["oneway"] += 1
            if buffer.oneway_spam_suspect:
                outcomes["oneway spam suspect"] += 1
            kept = bool(leak) and uniform() < leak
            server.todo.append((server_proc, buffer, handle_us[int(uniform() * QUANTILES)], kept))
            if server.looper is not None:
                scheduler.wake(server.looper, WAKE_NS)
                server.looper = None

    def _looper(self, server: _Member) -> Steps[None]:
        """The receiver's side of one-way work: one at a time, in order."""
        scheduler = self.kernel.scheduler
        passes = scheduler.passes
        process, todo = server.process, server.todo
        while True:
            while not todo:
                if process.exited:
                    return
                server.looper = scheduler.blocks()
                yield
            proc, buffer, handle_ns, kept = todo.popleft()
            if passes(handle_ns):
                yield
            if process.exited:
                return
            # One kept for good stops the queue: what comes after it is never delivered, so cannot be freed.
            if not kept:
                yield from binder_free_buf(process, proc, buffer)

    # Others.

    def _demand(self, demand: Demand, task: Task) -> Steps[None]:
        """Takes memory and gives it back; reclaims for itself when there is too little."""
        scheduler = self.kernel.scheduler
        memory = self.kernel.memory
        random = self._random("demand", demand.name)
        stop_ns = self._start_ns + round(demand.stop_s * SECOND)

        def give_back(pages: int, hold_ns: int) -> Steps[None]:
            if scheduler.passes(hold_ns):
                yield
            memory.free_pages += pages

        while self.kernel.trace.now < stop_ns:
            if scheduler.passes(draw(demand.interval_ms, random)):
                yield
            wanted = draw(demand.pages, random)
            while memory.free_pages - wanted < memory.watermarks.min:
                if not (yield from try_to_free_pages(self.kernel)):
                    break
            taken = max(0, min(wanted, memory.free_pages - memory.watermarks.min // 2))
            memory.free_pages -= taken
            if memory.free_pages < memory.watermarks.low and memory.wake_kswapd is not None:
                memory.wake_kswapd()
            scheduler.spawn(task, give_back(taken, draw(demand.hold_ms, random)))

    def _reclaim(self, reclaim: Reclaim, task: Task) -> Steps[None]:
        """A shell that drops caches."""
        scheduler = self.kernel.scheduler
        random = self._random("reclaim", task.tid)
        stop_ns = self._start_ns + round(reclaim.stop_s * SECOND)
        while self.kernel.trace.now < stop_ns:
            if scheduler.passes(draw(reclaim.interval_ms, random)):
                yield
            yield from drop_slab(self.kernel)

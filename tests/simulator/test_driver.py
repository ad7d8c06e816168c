"""Release, and who causes it: what happens around the allocator when processes, files and mappings end."""

from __future__ import annotations

from errno import ESRCH

import pytest

from binder_observe.events import Kind
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
    exit_process,
    inherit,
    unmap,
)
from binder_observe.simulator.kernel import Kernel
from binder_observe.simulator.scheduler import NEVER, Steps, run_alone
from binder_observe.simulator.trace import Task
from tests.simulator.model import ALL, PAGE


class System:
    """A manager and a client of one context."""

    def __init__(self, generation: str = "6.14") -> None:
        self.kernel = Kernel(generation)
        self.context = Context("binder")
        self.manager, self.server = self.process(100, "manager")
        self.client, self.caller = self.process(200, "client")
        self.kernel.trace.current = self.client.task
        self.events()

    def process(self, tgid: int, comm: str) -> tuple[Process, BinderProc]:
        process = Process(self.kernel, tgid, comm)
        proc = binder_open(process, self.context)
        binder_mmap(proc, 64 * PAGE)
        return process, proc

    def send(self, size: int, *, oneway: bool = False) -> BinderBuffer:
        buffer = run_alone(binder_transaction(self.client, self.server, size, 0, 0, oneway))
        assert isinstance(buffer, BinderBuffer)
        return buffer

    def events(self) -> list[tuple[str, int, int, int]]:
        """(kind, alloc, page, tgid)"""
        return [
            (kind.name, alloc, page, tgid)
            for _, kind, alloc, page, _, tgid, _, _ in self.kernel.trace.take().rows()
            if kind <= Kind.RELEASE_END
        ]


@pytest.mark.parametrize("generation", ALL)
def test_release_parks_by_address_and_frees_silently(generation: str) -> None:
    system = System(generation)
    a, b = system.send(PAGE), system.send(2 * PAGE)
    run_alone(binder_free_buf(system.manager, system.server, a))
    c = system.send(PAGE)
    assert c.user_data == 0
    assert b.user_data == PAGE
    system.events()
    run_alone(exit_process(system.manager))
    number = system.server.alloc.number
    second = (2, 1) if generation == "6.1" else (1, 2)
    parks = [(f"FREE_LRU_{half}", number, page, KWORKER.tgid) for page in (0, *second) for half in ("START", "END")]
    assert system.events() == [
        ("RELEASE_START", number, 0, KWORKER.tgid),
        *parks,
        ("RELEASE_END", number, 0, KWORKER.tgid),
    ]
    assert system.kernel.binder_freelist.nr_items == 0
    assert system.kernel.memory.pages_allocated == system.kernel.memory.pages_freed == 3
    assert system.kernel.memory.mdata_allocated == system.kernel.memory.mdata_freed
    assert system.context.manager is None
    system.kernel.check_conservation()


def test_a_file_outlives_its_mapping_and_its_opener() -> None:
    system = System()
    system.send(PAGE)
    child = Process(system.kernel, 300, "child")
    inherit(child, system.manager)
    system.events()
    run_alone(exit_process(system.manager))
    assert system.events() == [], "the child holds the file"
    assert system.server.alloc.stats() == (0, 0, 0, 1)
    assert run_alone(binder_transaction(system.client, system.server, 8, 0, 0, False)) == -ESRCH
    close(child, system.server)
    assert [event[0] for event in system.events()][:1] == ["RELEASE_START"]
    assert system.server.alloc.released


def test_closing_alone_does_not_release_what_is_mapped() -> None:
    system = System()
    close(system.manager, system.server)
    assert system.events() == []
    run_alone(unmap(system.server))
    assert [event[0] for event in system.events()] == ["RELEASE_START", "RELEASE_END"]


def test_buffers_can_be_freed_after_munmap() -> None:
    system = System()
    buffer = system.send(PAGE)
    run_alone(unmap(system.server))
    system.events()
    assert run_alone(binder_free_buf(system.manager, system.server, buffer)) == 0
    assert [event[0] for event in system.events()] == ["FREE_LRU_START", "FREE_LRU_END"]


def test_one_way_work_is_delivered_one_at_a_time() -> None:
    system = System()
    first, second = system.send(100, oneway=True), system.send(100, oneway=True)
    assert run_alone(binder_free_buf(system.manager, system.server, second)) == -ESRCH, "not delivered yet"
    assert run_alone(binder_free_buf(system.manager, system.server, first)) == 0
    assert run_alone(binder_free_buf(system.manager, system.server, first)) == -ESRCH, "freed"
    assert run_alone(binder_free_buf(system.manager, system.server, second)) == 0
    assert system.server.alloc.free_async_space == 32 * PAGE


@pytest.mark.parametrize("generation", ALL)
def test_a_target_that_dies_under_a_transaction(generation: str) -> None:
    """The sender frees what it allocated, or drops the last reference and releases the alloc itself. Nothing leaks,
    and the alloc is released once.
    """
    releasers = set()
    for delay_ns in range(0, 12_000, 100):
        system = System(generation)
        results: list[BinderBuffer | int] = []
        scheduler = system.kernel.scheduler

        def sender(system: System = system, results: list[BinderBuffer | int] = results) -> Steps[None]:
            results.append((yield from binder_transaction(system.client, system.server, 2 * PAGE, 0, 0, False)))

        def killer(system: System = system, delay_ns: int = delay_ns) -> Steps[None]:
            if system.kernel.scheduler.passes(delay_ns):
                yield
            yield from exit_process(system.manager)

        scheduler.spawn(Task(200, 201, "client", 1), sender())
        scheduler.spawn(system.manager.task, killer())
        scheduler.run(NEVER, NEVER)
        events = system.events()
        assert [kind for kind, *_ in events].count("RELEASE_END") == 1
        assert system.server.alloc.released
        assert not system.kernel.memory.in_flight
        system.kernel.check_conservation()
        assert system.kernel.memory.pages_allocated == system.kernel.memory.pages_freed
        releasers |= {tgid for kind, _, _, tgid in events if kind == "RELEASE_END"}
    assert KWORKER.tgid in releasers

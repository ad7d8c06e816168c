"""One simulated machine: what the allocator's functions share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from binder_observe.errors import ObserveError
from binder_observe.simulator.faults import Faults
from binder_observe.simulator.generation import differences
from binder_observe.simulator.list_lru import ListLru
from binder_observe.simulator.memory import Memory
from binder_observe.simulator.scheduler import Scheduler, Steps
from binder_observe.simulator.shrinker import binder_shrink_scan
from binder_observe.simulator.trace import Trace

if TYPE_CHECKING:
    from binder_observe.simulator.alloc import BinderAlloc
    from binder_observe.simulator.truth import Truth


class Kernel:
    """The machine: generation, clock, memory, the global freelist, and the allocs by number.

    `seed` decides every delay and every random fault, and so the interleaving of threads.
    """

    __slots__ = (
        "_next_alloc", "allocs", "binder_freelist", "binder_shrink_scan", "deferred", "diff", "emit", "emit_pair",
        "faults", "memory", "nr_deferred", "page_mask", "page_shift", "page_size", "random", "scheduler", "trace",
        "truth",
    )  # fmt: skip

    def __init__(
        self, generation: str = "6.14", *, page_size: int = 4096, seed: int = 0, boot_ns: int = 1_000_000_000
    ) -> None:
        if page_size not in (4096, 16384, 65536):
            raise ObserveError(f"a page size of {page_size} bytes: it must be 4096, 16384 or 65536")
        self.diff = differences(generation)
        self.page_size = page_size
        self.page_shift = page_size.bit_length() - 1
        self.page_mask = ~(page_size - 1)
        self.random = Random(f"{seed}:kernel")
        self.trace = Trace(boot_ns)
        self.emit = self.trace.emit
        self.emit_pair = self.trace.emit_pair
        self.scheduler = Scheduler(self.trace)
        self.memory = Memory()
        self.binder_freelist = ListLru()
        self.binder_shrink_scan = binder_shrink_scan  # the one shrinker that is registered
        self.deferred: deque[Callable[[], Steps[None]]] = deque()  # binder_deferred_list: what its kworker has to do
        self.nr_deferred = 0  # struct shrinker: scanning that do_shrink_slab() has put off
        self.faults: Faults | None = None
        self.truth: Truth | None = None
        self.allocs: dict[int, BinderAlloc] = {}
        self._next_alloc = 0

    def next_alloc(self) -> int:
        """A number that no alloc had before, as the collector gives them: from 1."""
        self._next_alloc += 1
        return self._next_alloc

    def strikes(self, fault: str) -> bool:
        return self.faults is not None and self.faults.strikes(fault)

    def check_conservation(self) -> None:
        """Every page and every metadata object is installed, in flight or freed; walks all of them.

        Raises:
            AssertionError: one was lost or counted twice.
        """
        memory = self.memory
        seen: set[int] = set()
        for alloc in self.allocs.values():
            for index, page in enumerate(alloc.pages):
                if page is None:
                    continue
                assert id(page) not in seen, "one page installed twice"
                assert page not in memory.in_flight, "an installed page is still in flight"
                assert page.private.alloc is alloc, "metadata of another alloc"
                assert page.private.page_index == index, "metadata of another page"
                seen.add(id(page))
        held = len(seen) + len(memory.in_flight)
        assert memory.pages_allocated - memory.pages_freed == held, "pages leaked"
        if self.diff.mdata_per_page:
            with_mdata = len(seen) + sum(hasattr(page, "private") for page in memory.in_flight)
            assert memory.mdata_allocated - memory.mdata_freed == with_mdata, "metadata leaked"
        else:
            assert memory.mdata_allocated == 0, "metadata by the page in a generation without it"
        parked = sum(alloc.page_counts()[1] for alloc in self.allocs.values())
        assert parked == self.binder_freelist.nr_items, "the freelist disagrees with the pages"

"""Who calls the shrinker, and for how many pages: kswapd, a direct reclaimer, the writer of drop_caches.

After mm/shrinker.c (`do_shrink_slab()`; up to 6.6 in mm/vmscan.c) and mm/vmscan.c. Binder's is the only shrinker of
the model; the page cache beside it is a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from binder_observe.simulator.costs import SCAN_NS
from binder_observe.simulator.list_lru import list_lru_count
from binder_observe.simulator.memory import DEF_PRIORITY, SWAP_CLUSTER_MAX
from binder_observe.simulator.scheduler import Steps
from binder_observe.simulator.trace import Task

if TYPE_CHECKING:
    from binder_observe.simulator.kernel import Kernel

SHRINK_BATCH: Final = 128  # mm/shrinker.c
DEFAULT_SEEKS: Final = 2  # include/linux/shrinker.h


def do_shrink_slab(kernel: Kernel, priority: int) -> Steps[int]:
    """One round over the freelist. Priority 0 looks at all of it (drop_caches); 12, where reclaim begins, at so
    little that a short list is left alone and the rest is deferred to a later round.
    """
    freeable = list_lru_count(kernel.binder_freelist)
    if freeable == 0:
        return 0
    deferred = kernel.nr_deferred
    kernel.nr_deferred = 0
    delta = (freeable >> priority) * 4 // DEFAULT_SEEKS
    total_scan = min((deferred >> priority) + delta, 2 * freeable)
    freed = scanned = 0
    while total_scan >= SHRINK_BATCH or total_scan >= freeable:
        nr_to_scan = min(SHRINK_BATCH, total_scan)
        freed += yield from kernel.binder_shrink_scan(kernel, nr_to_scan)
        total_scan -= nr_to_scan
        scanned += nr_to_scan
        if kernel.scheduler.passes(SCAN_NS):
            yield
    kernel.nr_deferred += min(max(deferred + delta - scanned, 0), 2 * freeable)
    return freed


def drop_slab(kernel: Kernel) -> Steps[int]:
    """`echo 2 > /proc/sys/vm/drop_caches`: rounds at priority 0 until one frees next to nothing.

    The kernel goes by what all shrinkers freed. The model has one, so where pages are skipped (only then does a second
    round matter) it may give up a round or two before a kernel would.
    """
    total = shift = 0
    while True:
        freed = yield from do_shrink_slab(kernel, 0)
        total += freed
        if freed >> shift <= 1:
            return total
        shift += 1


def _reclaim(kernel: Kernel, priority: int) -> Steps[int]:
    """One round of reclaim: its share of the page cache, then of binder's parked pages."""
    memory = kernel.memory
    taken = min(memory.cache_pages, max(memory.cache_pages >> priority, 1))
    memory.cache_pages -= taken
    memory.free_pages += taken
    if kernel.scheduler.passes(SCAN_NS):
        yield
    freed = yield from do_shrink_slab(kernel, priority)
    return taken + freed


def try_to_free_pages(kernel: Kernel) -> Steps[int]:
    """Direct reclaim by `current`: ever harder, until SWAP_CLUSTER_MAX pages were freed."""
    freed = 0
    for priority in range(DEF_PRIORITY, 0, -1):
        freed += yield from _reclaim(kernel, priority)
        if freed >= SWAP_CLUSTER_MAX:
            break
    return freed


def start_kswapd(kernel: Kernel, task: Task) -> None:
    """Makes kswapd, which is woken when free pages fall below `low` and works until they are above `high`."""
    scheduler = kernel.scheduler
    memory = kernel.memory
    asleep = False

    def kswapd() -> Steps[None]:
        nonlocal asleep
        while True:
            asleep = True
            scheduler.blocks()
            yield
            asleep = False
            for priority in range(DEF_PRIORITY, 0, -1):
                if memory.free_pages >= memory.watermarks.high:
                    break
                yield from _reclaim(kernel, priority)

    def wake_kswapd() -> None:
        nonlocal asleep
        if asleep:
            asleep = False
            scheduler.wake(thread, delay_ns=1_000)

    thread = scheduler.spawn(task, kswapd())
    memory.wake_kswapd = wake_kswapd

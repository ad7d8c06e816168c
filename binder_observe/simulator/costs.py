"""What the steps of the allocator take, ns.

Choices, made so that install latencies look like a phone's (a microsecond or two with a long tail); waiting for locks
comes on top of them, out of the model. Nothing else depends on them, and no conclusion should.
"""

from __future__ import annotations

from typing import Final

from binder_observe.simulator.distributions import Distribution, lognormal

ALLOC_PAGE_NS: Final[Distribution] = lognormal(1_200, 0.6)  # a page from the page allocator, zeroed
LOOK_NS: Final = 60  # from the look at alloc->pages[] to the attempt: another installer can be done in between
INSERT_NS: Final = 250  # from the page table entry to alloc->pages[]
LOCK_HELD_NS: Final = 400  # the alloc is locked, before anything is found in it
ZAP_NS: Final = 900  # unmapping one page from user space
MUNMAP_NS: Final = 2_000
SCAN_NS: Final = 500  # one round of reclaim

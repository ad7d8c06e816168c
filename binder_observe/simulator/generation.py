"""What differs between the allocator's generations, in one place.

The model asks these questions where the generations part and is otherwise one. A generation is named after the first
kernel that has it, as in `binder_observe.sources.Generation`. Sources: drivers/android/binder_alloc.c of Linux 6.1.176,
6.12.117 and 7.3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from binder_observe.errors import ObserveError

SimulatedGeneration = Literal["6.1", "6.8", "6.14"]


@dataclass(frozen=True, slots=True)
class Differences:
    """How one generation of the allocator behaves."""

    name: SimulatedGeneration

    split_install: bool
    """Pages are installed by binder_install_buffer_pages() once the alloc's lock is dropped, so two senders can race
    for a page. Without it, binder_update_page_range() takes pages off the LRU and installs missing ones in one pass,
    before the free buffer is split, and raises `pages_high` as it installs; with it, binder_lru_freelist_del() raises
    `pages_high` for every missing page, installed in the end or not. (binder: split up install, 6.8)"""

    mmap_write_lock: bool
    """A page is installed under the mmap write lock: the loser of a race looks under it, finds the page and stops.
    Without it, the loser meets EBUSY in vm_insert_page() and looks the winner's page up. (6.14)"""

    mdata_per_page: bool
    """The shrinker's metadata is allocated with each page and hangs under page->private, so it can run out; before,
    the mapping paid for all of it at mmap time. (binder: store shrinker metadata under page->private, 6.14)"""

    parks_highest_first: bool
    """A range is parked from its last page to its first. (up to 6.7)"""

    shrinker_locks_alloc_first: bool
    """The shrinker's trylocks: alloc, mm, mmap lock (up to 6.7); since 6.8 mm, mmap lock, alloc."""

    unmap_user_first: bool
    """Reclaim unmaps from user space, then takes the page; the alloc's lock is held throughout. (up to 6.7)"""

    alloc_lock_spans_zap: bool
    """The alloc's lock is still held while the shrinker unmaps the page from user space: a mutex may be (up to 6.7,
    since 6.14), the spinlock of 6.8 to 6.13 is dropped before."""

    vma_lock: bool
    """Installers and the shrinker try the per-VMA lock before they fall back to the mmap lock. (6.14)"""

    own_buffer_in_spam_count: bool
    """The one-way spam count sees the new buffer's sender: binder_buffer.pid is written before the count. Since 6.8
    it is written after it, so the count sees whatever pid the structure had in its last use. (up to 6.7)"""

    @property
    def kernel(self) -> str:
        """What `Meta.kernel` says for a run of the model."""
        return f"simulated {self.name}"


GENERATIONS: Final[Mapping[str, Differences]] = MappingProxyType(
    {
        d.name: d
        for d in (
            Differences(
                name="6.1",
                split_install=False,
                mmap_write_lock=True,
                mdata_per_page=False,
                parks_highest_first=True,
                shrinker_locks_alloc_first=True,
                unmap_user_first=True,
                alloc_lock_spans_zap=True,
                vma_lock=False,
                own_buffer_in_spam_count=True,
            ),
            Differences(
                name="6.8",
                split_install=True,
                mmap_write_lock=True,
                mdata_per_page=False,
                parks_highest_first=False,
                shrinker_locks_alloc_first=False,
                unmap_user_first=False,
                alloc_lock_spans_zap=False,
                vma_lock=False,
                own_buffer_in_spam_count=False,
            ),
            Differences(
                name="6.14",
                split_install=True,
                mmap_write_lock=False,
                mdata_per_page=True,
                parks_highest_first=False,
                shrinker_locks_alloc_first=False,
                unmap_user_first=False,
                alloc_lock_spans_zap=True,
                vma_lock=True,
                own_buffer_in_spam_count=False,
            ),
        )
    }
)


def differences(generation: str) -> Differences:
    """The generation of that name.

    Raises:
        ObserveError: there is no such generation.
    """
    try:
        return GENERATIONS[generation]
    except KeyError:
        names = ", ".join(GENERATIONS)
        raise ObserveError(f"the simulator knows no generation {generation!r}: it has {names}") from None

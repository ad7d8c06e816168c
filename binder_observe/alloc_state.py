"""What is known of one binder_alloc: plain data, read from the tracker's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder_observe.rows import State


@dataclass(frozen=True, slots=True)
class LruSkips:
    """How often the shrinker's callback gave a page up (LRU_SKIP), by what was in its way (docs/probes.md)."""

    alloc_lock: int = 0
    mmap_lock: int = 0
    mm_gone: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        return self.alloc_lock + self.mmap_lock + self.mm_gone + self.other

    def __add__(self, more: LruSkips) -> LruSkips:
        return LruSkips(
            self.alloc_lock + more.alloc_lock,
            self.mmap_lock + more.mmap_lock,
            self.mm_gone + more.mm_gone,
            self.other + more.other,
        )


@dataclass(frozen=True, slots=True)
class AllocState:
    """What is known of one binder_alloc. Counts are of the whole observation, times in ns."""

    alloc: int
    pid: int
    comm: str | None
    context: str | None
    mapping_pages: int
    free: int  # pages by state at the end of the observation, or just before release
    active: int
    lru: int
    unknown: int
    high_watermark: int
    installs: int
    duplicate_installs: int
    failed_installs: int
    installs_in_flight: int
    parks: int
    teardown_parks: int
    reuses: int
    reclaims: int
    refaults: int  # installs of a page that the shrinker had taken
    lru_skips: LruSkips  # all 0 where they are not observed, see Meta.observes_skips
    touched: int  # distinct pages that were installed at some time
    released: bool
    from_birth: bool  # its mapping was seen to be made, so no page is from before attach
    lost_events: int
    unexplained: int
    first_ns: int
    last_ns: int
    until_ns: int  # its release, or the end of the observation
    active_ns: int  # page-time, summed over pages
    lru_ns: int

    @property
    def mapped_ns(self) -> int:
        """Page-time mapped, whatever state pages were in."""
        return self.mapping_pages * (self.until_ns - self.first_ns)

    @property
    def held_order(self) -> tuple[bool, int, int, int]:
        """Sorts live mappings before released ones, then by pages held, then by pid."""
        return self.released, -(self.active + self.lru), self.pid, self.alloc


@dataclass(frozen=True, slots=True)
class GoesOn:
    """What the tables do not hold of live allocs, because it goes on: page-time of the states that pages are in, by
    row of the table; and by alloc attempts without an end, in flight or so old that they have failed."""

    active_ns: NDArray[np.int64]
    lru_ns: NDArray[np.int64]
    end_ns: int
    in_flight: Mapping[int, int] = field(default_factory=dict)
    failed: Mapping[int, int] = field(default_factory=dict)


def alloc_states(
    allocs: NDArray[np.void], names: list[tuple[str | None, str | None]], goes_on: GoesOn
) -> Iterator[AllocState]:
    """One for each row of `allocs` (dtype ALLOC); `names` are the (comm, context) of each."""
    columns: list[list[Any]] = [allocs[name].tolist() for name in _COLUMNS]
    counts = allocs["count"].tolist()
    still = zip(goes_on.active_ns.tolist(), goes_on.lru_ns.tolist(), strict=True)
    for (number, released, first_ns, last_ns, failed, active_ns, lru_ns, *rest), count, name, more in zip(
        zip(*columns, strict=True), counts, names, still, strict=True
    ):
        (pid, pages, high, installs, duplicates, parks, teardown, reuses, reclaims, refaults, skips, touched,
         from_birth, lost, unexplained) = rest  # fmt: skip
        yield AllocState(
            alloc=number,
            pid=pid,
            comm=name[0],
            context=name[1],
            mapping_pages=pages,
            free=count[State.FREE],
            active=count[State.ACTIVE],
            lru=count[State.LRU],
            unknown=count[State.UNKNOWN],
            high_watermark=high,
            installs=installs,
            duplicate_installs=duplicates,
            failed_installs=failed + goes_on.failed.get(number, 0),
            installs_in_flight=goes_on.in_flight.get(number, 0),
            parks=parks,
            teardown_parks=teardown,
            reuses=reuses,
            reclaims=reclaims,
            refaults=refaults,
            lru_skips=LruSkips(*skips),
            touched=touched,
            released=bool(released),
            from_birth=bool(from_birth),
            lost_events=lost,
            unexplained=unexplained,
            first_ns=first_ns,
            last_ns=last_ns,
            until_ns=last_ns if released else max(goes_on.end_ns, first_ns),
            active_ns=active_ns + more[0],
            lru_ns=lru_ns + more[1],
        )


_COLUMNS = (
    "number", "released", "first_ns", "last_ns", "failed_installs", "active_ns", "lru_ns",
    "pid", "pages", "high", "installs", "duplicate_installs", "parks", "teardown_parks", "reuses", "reclaims",
    "refaults", "lru_skips", "touched", "from_birth", "lost", "unexplained",
)  # fmt: skip

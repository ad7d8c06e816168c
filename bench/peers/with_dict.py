"""Page lives by a plain loop over a dictionary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Life = tuple[int, int, int, int, int, int, int, int, int]  # the columns of LIVES
RECLAIMED, RELEASED, ALIVE = 0, 1, 2  # rows.Ended


def lives(events: Iterable[tuple[int, int, int, int, int]], end_ns: int) -> list[Life]:
    """From (ts_ns, kind, alloc, page, tgid) in order."""
    done: list[Life] = []
    # alloc -> page -> birth, since, on the LRU, active, lru, reuses, installer
    mappings: dict[int, dict[int, list[Any]]] = {}
    releasing: set[int] = set()
    for ts, kind, alloc, page, tgid in events:
        if kind == 1:  # ALLOC_PAGE_START
            continue
        if kind == 2:  # ALLOC_PAGE_END
            pages = mappings.setdefault(alloc, {})
            if page not in pages:  # else another sender was first
                pages[page] = [ts, ts, False, 0, 0, 0, tgid]
        elif kind == 3:  # ALLOC_LRU_START
            life = mappings[alloc][page]
            life[4] += ts - life[1]
            life[1] = ts
            life[2] = False
            life[5] += 1
        elif kind == 5:  # FREE_LRU_START
            if alloc not in releasing:
                life = mappings[alloc][page]
                life[3] += ts - life[1]
                life[1] = ts
                life[2] = True
        elif kind == 7:  # UNMAP_KERNEL_START
            birth, since, _, active, lru, reuses, installer = mappings[alloc].pop(page)
            done.append((alloc, page, birth, ts, RECLAIMED, active, lru + ts - since, reuses, installer))
        elif kind == 11:  # RELEASE_START
            releasing.add(alloc)
        elif kind == 12:  # RELEASE_END
            releasing.discard(alloc)
            _finish(done, alloc, mappings.pop(alloc, {}), ts, RELEASED)
    for alloc, pages in mappings.items():
        _finish(done, alloc, pages, end_ns, ALIVE)
    return done


def _finish(done: list[Life], alloc: int, pages: dict[int, list[Any]], ts: int, ended: int) -> None:
    for page, (birth, since, on_lru, active, lru, reuses, installer) in pages.items():
        if on_lru:
            lru += ts - since
        else:
            active += ts - since
        done.append((alloc, page, birth, ts, ended, active, lru, reuses, installer))

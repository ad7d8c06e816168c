"""Who took parked pages back, and whether from inside an install of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe.rows import Ended
from binder_observe.tracker import Finished, PageTracker

# Reclaims that wait for an attempt to end; beyond these they are taken for direct ones, which they are unless a gap
# swallows the end of the attempt.
MOST_PENDING: Final = 1 << 16
# Processes that reclaimed are told apart up to twice as many; then those that took least are counted as one, tgid 0.
MOST_RECLAIMERS: Final = 1024


@dataclass(frozen=True, slots=True)
class ReclaimTotal:
    """Pages that the tasks of one process (0: of those that took least) reclaimed; `direct` of them while it was inside
    an attempt to install."""

    tgid: int
    reclaims: int
    direct: int


class Reclaims:
    """A reclaim is direct when it lies inside an INSTALL row of the reclaimer's tgid: start_ns < reclaim < end_ns.

    The rows of an attempt comes out when it ends, so a reclaim whose tgid has an attempt open waits until then.
    """

    def __init__(self) -> None:
        self._totals: dict[int, list[int]] = {}  # tgid -> reclaims, direct ones
        self._pending = np.zeros((2, 0), dtype=np.int64)  # tgid, ts_ns

    def add(self, rows: list[Finished], tracker: PageTracker) -> None:
        """All rows that `tracker` finished since the last call."""
        taken = [r.lives[r.lives["ended"] == Ended.RECLAIMED] for r in rows]
        new = [np.stack([t["ender"].astype(np.int64), t["end_ns"]]) for t in taken if len(t)]
        if not new and not self._pending.shape[1]:
            return
        for tgids, _ in new:
            for tgid, n in zip(*np.unique(tgids, return_counts=True), strict=True):
                self._totals.setdefault(int(tgid), [0, 0])[0] += int(n)
        if len(self._totals) > 2 * MOST_RECLAIMERS:
            self._thin_out()
        pending = np.concatenate([self._pending, *new], axis=1)
        pending = self._settle(pending, np.concatenate([r.installs for r in rows]))
        going_on = tracker.open_installs()
        waits = inside(pending, going_on, np.full(len(going_on), np.iinfo(np.int64).max))
        self._pending = pending[:, waits]
        if self._pending.shape[1] > MOST_PENDING:
            self._count(self._pending[0])
            self._pending = self._pending[:, :0]

    def _settle(self, pending: NDArray[np.int64], installs: NDArray[np.void]) -> NDArray[np.int64]:
        """Counts those that lie inside of an attempt; returns the others."""
        direct = inside(pending, installs, installs["end_ns"])
        self._count(pending[0, direct])
        return pending[:, ~direct]

    def _count(self, direct: NDArray[np.int64]) -> None:
        for tgid, n in zip(*np.unique(direct, return_counts=True), strict=True):
            counts = self._totals.get(int(tgid)) or self._totals[0]
            counts[1] += int(n)

    def _thin_out(self) -> None:
        """Those that took least are one from now on; any of them that reclaims again is itself again, from 0."""
        ranked = sorted(self._totals.items(), key=lambda item: (item[0] == 0, -item[1][0], item[0]))
        others = [counts for _, counts in ranked[MOST_RECLAIMERS:]]
        self._totals = dict(ranked[:MOST_RECLAIMERS])
        self._totals[0] = [sum(counts[i] for counts in others) for i in (0, 1)]

    def totals(self, tracker: PageTracker) -> list[ReclaimTotal]:
        """Most reclaims first; attempts that go on count up to the end."""
        twin = Reclaims()
        twin._totals = {tgid: list(counts) for tgid, counts in self._totals.items()}
        twin._settle(self._pending, tracker.open_installs())
        found = [ReclaimTotal(tgid, *counts) for tgid, counts in twin._totals.items()]
        return sorted(found, key=lambda total: (-total.reclaims, total.tgid))


def inside(reclaims: NDArray[np.int64], installs: NDArray[np.void], end_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the reclaims (rows tgid, ts_ns) lie inside an attempt of the same tgid that ends at `end_ns`."""
    found = np.zeros(reclaims.shape[1], dtype=np.bool_)
    seen = installs["start_ns"] >= 0
    for tgid in np.intersect1d(reclaims[0], installs["tgid"][seen]):
        mine = seen & (installs["tgid"] == tgid)
        start, end = installs["start_ns"][mine], end_ns[mine]
        order = np.argsort(start)
        # of the attempts that began before a reclaim, the one that ends last decides
        last_end = np.maximum.accumulate(end[order])
        which = np.flatnonzero(reclaims[0] == tgid)
        ts = reclaims[1, which]
        before = np.searchsorted(start[order], ts)
        found[which] = (before > 0) & (last_end[before - 1] > ts)
    return found

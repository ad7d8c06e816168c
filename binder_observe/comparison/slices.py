"""One recording cut into equal time slices, and what each slice adds to each metric.

Everything is booked in the slice in which it began: an install in that of its event, the page-time of a stay in that
of the stay's first moment, however long it lasts. So a page that lies on the LRU for the whole recording is one
observation, not one in every slice, and a level that never changes gives no false certainty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from binder_observe.analysis.metadata import POINTER_BYTES
from binder_observe.comparison.metrics import SUMS
from binder_observe.events import Kind
from binder_observe.history import History
from binder_observe.lifetimes.durations import BIN_BITS
from binder_observe.rows import Began, Ended, Outcome, State
from binder_observe.tracker import AllocState

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.void]
Name = tuple[str, str]
"""Command name and context: what a process is recognised by in another recording, where it has another pid."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations by slice of their beginning and bin (`lifetimes.durations`): those that ended, those censored.

    `ended` and `censored` have shape (slices, bins); `bins` are the numbers of the bins, ascending; `longest` is the
    longest that ended.
    """

    bins: Ints
    ended: Ints
    censored: Ints
    longest: int


@dataclass(frozen=True, slots=True)
class Group:
    """All processes together, or those of one name. `sums` has shape (len(SUMS), slices)."""

    sums: Floats
    durations: dict[str, Histogram]
    single: dict[str, float | None]


def duration_bins(duration_ns: Ints) -> Ints:
    """`lifetimes.durations.duration_bin` of many at once."""
    duration = np.maximum(duration_ns, 0)
    # frexp's exponent is the bit length, exact up to 2**53 ns
    shift = np.maximum(np.frexp(duration.astype(np.float64))[1].astype(np.int64) - (BIN_BITS + 1), 0)
    return (shift << BIN_BITS) + (duration >> shift)


def name_of(alloc: AllocState) -> Name:
    return alloc.comm or "?", alloc.context or "?"


def restrict(history: History, comm: str) -> set[int]:
    """The allocs of processes of that name."""
    return {a.alloc for a in history.allocs if a.comm == comm}


class Slices:
    """The rows of a history with the slice that each began in.

    `allocs` keeps only rows of these; None keeps all.
    """

    def __init__(self, history: History, slices: int, allocs: set[int] | None = None) -> None:
        self.history = history
        self.count = slices
        self.duration_ns = max(history.end_ns - history.begin_ns, 0)
        self._whole = allocs is None
        self._allocs = tuple(a for a in history.allocs if allocs is None or a.alloc in allocs)

    def names(self) -> dict[Name, int]:
        """Page-time by name, in ns."""
        held: dict[Name, int] = {}
        for a in self._allocs:
            held[name_of(a)] = held.get(name_of(a), 0) + a.active_ns + a.lru_ns
        return held

    def group(self, name: Name | None = None) -> Group:
        """All processes, or those called `name`."""
        allocs = [a for a in self._allocs if name is None or name_of(a) == name]
        wanted = np.zeros(max((a.alloc for a in self.history.allocs), default=0) + 1, dtype=bool)
        wanted[[a.alloc for a in allocs]] = True
        h = self.history
        lives, spans, installs = (rows[wanted[rows["alloc"]]] for rows in (h.lives, h.spans, h.installs))
        at = {
            "lives": self._slice(lives["birth_ns"]),
            "spans": self._slice(spans["since_ns"]),
            "installs": self._slice(installs["end_ns"]),
        }
        return Group(
            sums=self._sums(lives, spans, installs, at),
            durations=self._durations(lives, spans, installs, at),
            single=self._single(allocs, spans, overall=name is None and self._whole),
        )

    def _slice(self, ts_ns: Ints) -> Ints:
        """The slice of each time; those before the first or after the last count to these."""
        past = np.clip(ts_ns - self.history.begin_ns, 0, self.duration_ns)
        # in float64: the product would overflow in recordings of months, and a slice more or less at an edge is no harm
        at = (past * (self.count / max(self.duration_ns, 1))).astype(np.int64)
        return np.minimum(at, self.count - 1)

    def _sums(self, lives: Rows, spans: Rows, installs: Rows, at: dict[str, Ints]) -> Floats:
        state, began, ended = (spans[c] for c in ("state", "began", "ended"))
        outcome = installs["outcome"]
        page_s = (spans["until_ns"] - spans["since_ns"]) / 1e9

        def book(rows: str, mask: NDArray[np.bool_], weight: Floats | None = None) -> Floats:
            weights = None if weight is None else weight[mask]
            return np.bincount(at[rows][mask], weights, minlength=self.count).astype(np.float64)

        reclaimed = (state == State.FREE) & (began == Kind.UNMAP_KERNEL_START)
        sums = {
            "seconds": np.full(self.count, self.duration_ns / 1e9 / self.count),
            "installs": book("lives", lives["began"] == Began.INSTALLED),
            "duplicates": book("installs", outcome == Outcome.DUPLICATE),
            "failures": book("installs", outcome == Outcome.FAILED),
            "parks": book("spans", (state == State.LRU) & (began == Kind.FREE_LRU_START)),
            "reuses": book("spans", (state == State.ACTIVE) & (began == Kind.ALLOC_LRU_START)),
            "reclaims": book("spans", reclaimed),
            "refaults": book("spans", reclaimed & (ended == Kind.ALLOC_PAGE_END)),
            "active_s": book("spans", state == State.ACTIVE, page_s),
            "lru_s": book("spans", state == State.LRU, page_s),
        }
        sums["attempts"] = sums["installs"] + sums["duplicates"] + sums["failures"]
        sums["leaves"] = sums["reuses"] + sums["reclaims"]
        sums["held_s"] = sums["active_s"] + sums["lru_s"]
        return np.stack([sums[name] for name in SUMS])

    def _durations(self, lives: Rows, spans: Rows, installs: Rows, at: dict[str, Ints]) -> dict[str, Histogram]:
        """What each is: metrics.DURATIONS. Those whose beginning was not seen have no known duration."""
        state, began, ended = (spans[c] for c in ("state", "began", "ended"))
        span_ns = spans["until_ns"] - spans["since_ns"]
        seen = (ended != Kind.LOST) & (ended != Kind.DETACH)
        into_use = (began == Kind.ALLOC_PAGE_END) | (began == Kind.ALLOC_LRU_START)
        reclaimed = (state == State.FREE) & (began == Kind.UNMAP_KERNEL_START)
        timed = (installs["outcome"] <= Outcome.DUPLICATE) & (installs["start_ns"] >= 0)
        chosen: dict[str, tuple[str, NDArray[np.bool_], Ints, NDArray[np.bool_]]] = {
            "lifetime": (
                "lives", lives["began"] == Began.INSTALLED, lives["end_ns"] - lives["birth_ns"],
                lives["ended"] <= Ended.RELEASED,
            ),
            "active_span": ("spans", (state == State.ACTIVE) & into_use, span_ns, seen),
            "idle_span": ("spans", (state == State.LRU) & (began == Kind.FREE_LRU_START), span_ns, seen),
            "refault_delay": ("spans", reclaimed, span_ns, ended == Kind.ALLOC_PAGE_END),
            "install_latency": ("installs", timed, installs["end_ns"] - installs["start_ns"], timed),
        }  # fmt: skip
        return {
            name: self._histogram(at[rows][mask], duration_ns[mask], done[mask])
            for name, (rows, mask, duration_ns, done) in chosen.items()
        }

    def _histogram(self, at: Ints, duration_ns: Ints, ended: NDArray[np.bool_]) -> Histogram:
        bins, column = np.unique(duration_bins(duration_ns), return_inverse=True)
        cell = at * len(bins) + column
        counts = (np.bincount(cell[which], minlength=self.count * len(bins)) for which in (ended, ~ended))
        done, censored = (count.reshape(self.count, len(bins)) for count in counts)
        return Histogram(bins, done, censored, int(duration_ns[ended].max(initial=0)))

    def _single(self, allocs: list[AllocState], spans: Rows, *, overall: bool) -> dict[str, float | None]:
        report = self.history.report
        sizes = report.metadata.struct_bytes
        duration = max(self.duration_ns, 1)
        mapped = sum(a.mapping_pages * (a.until_ns - a.first_ns) for a in allocs) / duration
        installed = sum(a.active_ns + a.lru_ns for a in allocs) / duration
        before = mapped * sizes["binder_lru_page"]
        after = mapped * POINTER_BYTES + installed * sizes["binder_shrinker_mdata"]
        own = {"6.1": before, "6.8": before, "6.14": after}.get(report.meta.generation)
        found: dict[str, float | None] = {
            "mapped_pages": mapped,
            "metadata_bytes": own,
            "metadata_bytes_before": before,
            "metadata_bytes_after": after,
        }
        if not self.duration_ns:
            found = dict.fromkeys(found)
        found["active_pages_max"] = _most(spans[spans["state"] == State.ACTIVE])
        found["lru_pages_max"] = _most(spans[spans["state"] == State.LRU])
        found["touched_pages"] = sum(a.touched for a in allocs)
        found["high_watermark"] = sum(a.high_watermark for a in allocs)
        # overall: also those that belong to no alloc
        found["lost_events"] = report.lost_events if overall else sum(a.lost_events for a in allocs)
        found["unexplained"] = sum(report.unexplained.values()) if overall else sum(a.unexplained for a in allocs)
        return found


def _most(spans: Rows) -> int:
    """The most of them at any one time, exact."""
    time = np.concatenate([spans["since_ns"], spans["until_ns"]])
    step = np.repeat(np.array([1, -1]), len(spans))
    order = np.lexsort((step, time))  # at one time, a page that leaves makes room first
    return int(np.cumsum(step[order]).max(initial=0))

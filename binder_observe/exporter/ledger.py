"""Which mappings have series of their own, and counters that never go down although mappings come and go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from typing import Final

from binder_observe.analysis.names import printable
from binder_observe.analysis.report import Report
from binder_observe.tracker import AllocState

Key = tuple[str, str, str]  # pid, comm, context
Counts = tuple[int, ...]  # in the order of `_counts`

OTHER: Final[Key] = ("other", "other", "other")  # no pid is called so
LONGEST_NAME: Final = 64  # a comm has 15 bytes, a context (the name of a binderfs device) up to 255
_ZERO: Final[Counts] = (0,) * 13


@dataclass(frozen=True, slots=True)
class Series:
    """One label set: a mapping, those of one process in one context, or all the rest (`OTHER`).

    Pages are those of live mappings; `counts` are installs, duplicate installs, failed installs, parks, reuses,
    reclaims, refaults, page-time active and on the LRU in ns, and LRU_SKIPs by reason, of mappings that are gone, too.
    """

    key: Key
    active: int
    lru: int
    free: int
    unknown: int
    mapping_pages: int
    high_watermark: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class _Mapping:
    """A live mapping at the last look: `hidden` is the part of its counts that stands in OTHER."""

    key: Key
    counts: Counts
    hidden: Counts


class Ledger:
    """Give it every report, in order.

    At most `most` keys have series of their own: those that hold most pages. The rest is in OTHER, and so is what a
    key had counted when it loses its place or its last mapping is gone. So the sum over all series is the report's
    total, and neither it nor OTHER ever goes down; where the report takes something back, they wait until it has caught
    up. A key that comes back (or a pid that is used again) starts at 0.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._live: dict[int, _Mapping] = {}  # by alloc, which is never used twice
        self._gone: dict[Key, Counts] = {}  # of released mappings, while their key has another
        self._shown: frozenset[Key] = frozenset()
        self._other = _ZERO

    def take(self, report: Report, now_ns: int) -> tuple[Series, ...]:
        """Series as of `report`, OTHER last; everything up to `now_ns` is known to be in it."""
        live: dict[int, _Mapping] = {}
        states: dict[Key, list[AllocState]] = {}
        total = _ZERO
        for s in (p.state for p in report.processes):
            before = self._live.get(s.alloc)
            counts = _counts(s, now_ns)
            if before:
                # An attempt that has been open for long counts as failed, and may yet end; clocks of two CPUs differ.
                counts = _max(counts, before.counts)
            total = _add(total, counts)
            if not s.released:
                live[s.alloc] = _Mapping(_key(s), counts, before.hidden if before else _ZERO)
                states.setdefault(_key(s), []).append(s)
            elif before:
                self._gone[before.key] = _add(self._gone.get(before.key, _ZERO), _subtract(counts, before.hidden))
        for alloc in self._live.keys() - {p.state.alloc for p in report.processes}:  # gone, and folded already
            before = self._live[alloc]
            self._gone[before.key] = _add(self._gone.get(before.key, _ZERO), _subtract(before.counts, before.hidden))
        self._shown = self._choose(states)
        self._gone = {key: counts for key, counts in self._gone.items() if key in self._shown}
        own = {key: self._gone.get(key, _ZERO) for key in self._shown}
        for alloc, mapping in live.items():
            if mapping.key in own:
                own[mapping.key] = _add(own[mapping.key], _subtract(mapping.counts, mapping.hidden))
            else:
                live[alloc] = replace(mapping, hidden=mapping.counts)
        self._live = live
        for counts in own.values():
            total = _subtract(total, counts)
        self._other = _max(self._other, total)
        rest = [s for key, group in states.items() if key not in own for s in group]
        return (*(_series(key, states[key], own[key]) for key in sorted(own)), _series(OTHER, rest, self._other))

    def _choose(self, states: dict[Key, list[AllocState]]) -> frozenset[Key]:
        """The keys that hold most pages; one that is shown gives way to one that holds a quarter more, so that two
        that are nearly equal do not take turns."""

        def rank(key: Key) -> tuple[int, Key]:
            held = sum(s.active + s.lru for s in states[key])
            return -held * (5 if key in self._shown else 4), key

        return frozenset(sorted(states, key=rank)[: self._most])


def _key(s: AllocState) -> Key:
    return str(s.pid), printable(s.comm)[:LONGEST_NAME], printable(s.context)[:LONGEST_NAME]


def _counts(s: AllocState, now_ns: int) -> Counts:
    """The report counts page-time up to the last event of any mapping; pages stay in their states after it."""
    since_ns = 0 if s.released else max(now_ns - s.until_ns, 0)
    return (
        s.installs, s.duplicate_installs, s.failed_installs, s.parks, s.reuses, s.reclaims, s.refaults,
        s.active_ns + s.active * since_ns, s.lru_ns + s.lru * since_ns, *astuple(s.lru_skips),
    )  # fmt: skip


def _series(key: Key, states: Iterable[AllocState], counts: Counts) -> Series:
    active = lru = free = unknown = mapped = high = 0
    for s in states:
        active, lru, free, unknown = active + s.active, lru + s.lru, free + s.free, unknown + s.unknown
        mapped, high = mapped + s.mapping_pages, high + s.high_watermark
    return Series(key, active, lru, free, unknown, mapped, high, counts)


def _add(a: Counts, b: Counts) -> Counts:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _subtract(a: Counts, b: Counts) -> Counts:
    return tuple(x - y for x, y in zip(a, b, strict=True))


def _max(a: Counts, b: Counts) -> Counts:
    return tuple(max(x, y) for x, y in zip(a, b, strict=True))

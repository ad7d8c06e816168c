"""Mappings that are gone, in memory that does not grow with them.

The last MOST_RELEASED stay as they were, for whoever asks what has just happened. Those before are folded into one row
for each name: counters are summed and durations merged, so that totals, quantiles over all and findings are those that
all the mappings would give.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from binder_observe.analysis.findings import RULES, largest, passing, short_lived
from binder_observe.analysis.processes import process_reports, unknown_before
from binder_observe.analysis.report import Folded, Passed, ProcessReport
from binder_observe.events import NO_ALLOC
from binder_observe.lifetimes.counts import Counts, Measure
from binder_observe.lifetimes.durations import Quantiles
from binder_observe.lifetimes.totals import Totals
from binder_observe.tracker import AllocState, LruSkips

MOST_RELEASED: Final = 1000
# Names of processes are few, unless somebody makes new ones; those beyond share a row without a name.
MOST_NAMES: Final = 256

Name = tuple[str | None, str | None]  # comm, context
_SUMS: Final = (
    "mapping_pages", "free", "active", "lru", "unknown", "high_watermark", "installs", "duplicate_installs",
    "failed_installs", "installs_in_flight", "parks", "teardown_parks", "reuses", "reclaims", "refaults", "touched",
    "lost_events", "unexplained", "active_ns", "lru_ns",
)  # fmt: skip


@dataclass(slots=True)
class _Row:
    """Of one name: its state has the sums, and the number of the row in `Released._counted` as its alloc."""

    state: AllocState
    mappings: int


class Released:
    """Give it every mapping that was released, once, in order."""

    def __init__(self, most: int = MOST_RELEASED, *, skips: bool = False) -> None:
        self._most = most
        self._skips = skips  # LRU_SKIP is observed
        self._last: deque[tuple[ProcessReport, Counts]] = deque()
        self._rows: dict[Name, _Row] = {}
        self._counted = Totals()  # of folded mappings, by row
        self._overall = Totals()  # of all, as of alloc 0
        self._reports: list[ProcessReport] | None = None  # of the rows, while nothing is folded into them
        self.folded = Folded()

    def add(self, states: list[AllocState], counts: Counts, comms: Mapping[int, str]) -> None:
        """`counts` are those of the released mappings."""
        self._overall.merge_durations(counts)
        for report in process_reports(states, counts, comms, skips=self._skips):
            self._last.append((report, counts.of(report.state.alloc)))
        surplus = [self._last.popleft() for _ in range(len(self._last) - self._most)]
        if surplus:
            self._fold(surplus)

    def reports(self, comms: Mapping[int, str]) -> list[ProcessReport]:
        """The last ones, and the rows of those before."""
        if self._reports is None:
            rows = list(self._rows.values())
            told = process_reports((row.state for row in rows), self._counted.counts(), comms, skips=self._skips)
            self._reports = [
                replace(report, state=replace(report.state, alloc=NO_ALLOC), mappings=row.mappings)
                for report, row in zip(told, rows, strict=True)
            ]
        return [*(report for report, _ in self._last), *self._reports]

    def overall(self, live: Counts) -> dict[Measure, Quantiles]:
        """Quantiles over all mappings: these, and the live ones."""
        together = self._overall.copy()
        together.merge_durations(live)
        return together.counts().quantiles().get(NO_ALLOC, {})

    def _fold(self, surplus: list[tuple[ProcessReport, Counts]]) -> None:
        self._reports = None
        by_name: dict[Name, list[AllocState]] = {}
        for report, counts in surplus:
            name = (report.state.comm, report.state.context)
            if name not in self._rows and len(self._rows) >= MOST_NAMES:
                name = (None, None)
            if name not in self._rows:
                number = len(self._rows) + 1
                self._rows[name] = _Row(_nothing(name, number, report.state), 0)
            self._counted.merge(counts, {NO_ALLOC: self._rows[name].state.alloc})
            by_name.setdefault(name, []).append(report.state)
        for name, states in by_name.items():
            row = self._rows[name]
            row.state = _together(row.state, states)
            row.mappings += len(states)
        self.folded = _folded(self.folded, [report for report, _ in surplus])


def _nothing(name: Name, number: int, first: AllocState) -> AllocState:
    sums: dict[str, Any] = dict.fromkeys(_SUMS, 0)
    return replace(
        first, lru_skips=LruSkips(), alloc=number, pid=0, comm=name[0], context=name[1], from_birth=True, **sums
    )


def _together(row: AllocState, more: list[AllocState]) -> AllocState:
    """Counters summed; from the first mapping's beginning to the last one's end."""
    sums: dict[str, Any] = {name: getattr(row, name) + sum(getattr(s, name) for s in more) for name in _SUMS}
    return replace(
        row,
        lru_skips=sum((s.lru_skips for s in more), row.lru_skips),
        from_birth=row.from_birth and all(s.from_birth for s in more),
        first_ns=min(row.first_ns, *(s.first_ns for s in more)),
        last_ns=max(row.last_ns, *(s.last_ns for s in more)),
        until_ns=max(row.until_ns, *(s.until_ns for s in more)),
        **sums,
    )


def _folded(before: Folded, processes: list[ProcessReport]) -> Folded:
    passed = dict(before.passed)
    for rule in RULES:
        found = passing(rule, processes)
        if found:
            earlier = passed.get(rule.name, Passed())
            passed[rule.name] = Passed(earlier.n + len(found), largest([*earlier.most, *found]))
    short = short_lived(processes)
    return Folded(
        passed=passed,
        short_lived=before.short_lived + len(short),
        short_installs=before.short_installs + sum(s.installs for s in short),
        unknown_before=before.unknown_before + unknown_before(processes),
        mapped_ns=before.mapped_ns + sum(p.state.mapped_ns for p in processes),
    )

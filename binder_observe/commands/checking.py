"""Compares what is tracked with the kernel's own counts while the system goes on working."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from binder_observe.audit import ALL, Audit, Difference, Key, Verdict, compare
from binder_observe.errors import ObserveError
from binder_observe.events import NO_ALLOC, EventBatch, from_rows
from binder_observe.observation import Observation
from binder_observe.sources.selection import Scope

if TYPE_CHECKING:
    from binder_observe.sources.ebpf import EbpfSource

_LOOKS: Final = 10  # at one process, until it is called inconclusive


@dataclass(frozen=True, slots=True)
class KernelCounts:
    """Where the kernel prints its own counts, and how to look at them.

    `hurry` makes the source's next batch come at once, so that little happens between the two looks at what is tracked;
    `every` is in seconds, None: only in the end. `scope` says which of them are of what is observed.
    """

    stats: Path
    hurry: Callable[[], None]
    every: float | None = None
    scope: Callable[[], Scope] = lambda: ALL


class Checker:
    """Holds an observation against the kernel's counts, as often as `check()` is called.

    `take` lets the observation take in what happened meanwhile, and returns it; None: there is no more.
    """

    def __init__(self, counts: KernelCounts, observation: Observation, take: Callable[[], EventBatch | None]) -> None:
        self._counts = counts
        self._observation = observation
        self._take = take
        self._differences: dict[Key, Difference] = {}

    def check(self) -> EventBatch:
        """An AUDIT row: what was compared now, with every difference that was ever seen. Nothing when the
        source ended first.

        Raises ObserveError when the kernel's counts cannot be read.
        """
        settled: dict[Key, Verdict] = {}
        last: dict[Key, Verdict] = {}
        for _ in range(_LOOKS):
            found = self._look()
            if found is None:
                return from_rows([])
            for key, verdict in found.items():
                # One look may fall between a page's transition and its event; two in a row that are alike do not.
                if verdict is True or (verdict is not False and verdict == last.get(key)):
                    settled[key] = verdict
            last = found
            if settled.keys() >= last.keys():
                break
        self._differences.update({key: v for key, v in settled.items() if isinstance(v, Difference)})
        audit = Audit(
            checked=True,
            compared=len(settled),
            inconclusive=len(last.keys() - settled.keys()),
            differences=tuple(self._differences.values()),
        )
        return audit.event(self._observation.tracker.end_ns)

    def _look(self) -> dict[Key, Verdict] | None:
        before = self._take()
        states = list(self._observation.tracker.allocs())
        try:
            stats = self._counts.stats.read_text(errors="replace")
        except OSError as error:
            raise ObserveError(f"cannot read {self._counts.stats}: {error.strerror}") from error
        # What was tracked before is what the kernel printed, unless an event came between.
        self._counts.hurry()
        after = self._take()
        if before is None or after is None:
            return None
        moving = {int(number) for number in after.alloc}
        if NO_ALLOC in moving and after.lost_events:
            moving.update(state.alloc for state in states)
        return compare(states, stats, moving=moving, scope=self._counts.scope())


def kernel_counts(source: EbpfSource, every: float | None) -> KernelCounts | None:
    """None where the kernel does not print its counts, or not for us."""
    from binder_observe import doctor

    check = doctor.check_stats(doctor.Machine())
    return KernelCounts(Path(check.detail), source.hurry, every, source.scope) if check.status == "ok" else None

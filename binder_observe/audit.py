"""Tracked page counts against the kernel's own, as the `stats` file of debugfs or binderfs prints them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Final, Self

from binder_observe.errors import ObserveError
from binder_observe.events import NO_ALLOC, EventBatch, Kind, from_rows
from binder_observe.sources.selection import Scope
from binder_observe.tracker import AllocState

Key = tuple[int, str]
"""Owner pid and context: all that the kernel prints to tell mappings apart."""

# print_binder_proc_stats(), drivers/android/binder.c
_BLOCK: Final = re.compile(r"^proc (\d+)\ncontext (.*)\n(?:  .*\n)*?  pages: (\d+):(\d+):(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Counts:
    """Pages by state, summed over the mappings that one process has in one context."""

    active: int
    lru: int
    free: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Counts that nothing was moving, and that were not equal."""

    pid: int
    context: str
    tracked: Counts
    kernel: Counts


Verdict = Difference | bool
"""A difference; True: equal; False: inconclusive, because pages were moving or are unknown."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What the comparisons of one observation said; `compared` and `inconclusive` count (pid, context) pairs."""

    checked: bool = False
    compared: int = 0
    inconclusive: int = 0
    differences: tuple[Difference, ...] = ()

    @property
    def agreed(self) -> bool | None:
        """None: not checked, or inconclusive."""
        if self.differences:
            return False
        return True if self.checked and not self.inconclusive else None

    def to_dict(self) -> dict[str, object]:
        return {
            "checked": self.checked,
            "agreed": self.agreed,
            "compared": self.compared,
            "inconclusive": self.inconclusive,
            "differences": [asdict(difference) for difference in self.differences],
        }

    def event(self, ts_ns: int) -> EventBatch:
        """One AUDIT row, to be fed to the observation that was compared, and recorded with it."""
        text = json.dumps(self.to_dict(), separators=(",", ":"))
        return from_rows([(ts_ns, Kind.AUDIT, NO_ALLOC, 0, 0, 0, 0, text)])

    @classmethod
    def from_json(cls, text: str) -> Self:
        """From the `name` of an AUDIT row. Raises ObserveError when it is none."""
        try:
            said = json.loads(text)
            differences = tuple(
                Difference(d["pid"], d["context"], Counts(**d["tracked"]), Counts(**d["kernel"]))
                for d in said["differences"]
            )
            return cls(said["checked"], said["compared"], said["inconclusive"], differences)
        except (ValueError, LookupError, TypeError) as error:
            raise ObserveError(f"the event stream is damaged: {text[:40]!r} is no result of an audit") from error


UNCHECKED: Final = Audit()

ALL: Final = Scope()


def parse(stats: str) -> dict[Key, list[Counts]]:
    """The kernel's counts of each mapping. What is open and not mapped (any more) says 0:0:0, whatever pages it has."""
    found: dict[Key, list[Counts]] = {}
    for pid, context, *pages in _BLOCK.findall(stats):
        found.setdefault((int(pid), context), []).append(Counts(*map(int, pages)))
    return found


def compare(
    states: Iterable[AllocState],
    stats: str,
    *,
    moving: Collection[int] = (),
    scope: Scope = ALL,
) -> dict[Key, Verdict]:
    """Holds what was tracked when `stats` was read against it, for each live process and context.

    Args:
        moving: allocs (by number) that events came of between the two.
        scope: what of the kernel's is held against it, beside what was tracked.
    """
    tracked: dict[Key, list[AllocState]] = {}
    for state in states:
        if not state.released:
            tracked.setdefault((state.pid, state.context or ""), []).append(state)
    kernel = parse(stats)
    verdicts: dict[Key, Verdict] = {}
    for key in {**tracked, **kernel}:
        if key in tracked or key in scope:
            verdict = _verdict(key, tracked.get(key, []), kernel.get(key, []), moving, scope.complete)
            if verdict is not None:
                verdicts[key] = verdict
    return verdicts


def _verdict(
    key: Key, tracked: list[AllocState], kernel: list[Counts], moving: Collection[int], complete: bool
) -> Verdict | None:
    """None: the kernel has nothing to compare with."""
    counted = [counts for counts in kernel if any(asdict(counts).values())]
    if kernel and not counted:
        return None
    if len(tracked) > len(counted):  # closed and not released yet, or one of several is not mapped any more
        return False
    ours = Counts(sum(s.active for s in tracked), sum(s.lru for s in tracked), sum(s.free for s in tracked))
    theirs = Counts(sum(c.active for c in counted), sum(c.lru for c in counted), sum(c.free for c in counted))
    if any(s.unknown or s.alloc in moving for s in tracked) or (len(tracked) < len(counted) and not complete):
        return False
    if ours == theirs:
        return True
    # set in the kernel before its event is sent, so that the kernel may count it already
    return False if any(s.installs_in_flight for s in tracked) else Difference(*key, ours, theirs)

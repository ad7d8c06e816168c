"""What a comparison is: plain data, filled by `compare_histories` and put on a page by the writers in `reports/`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import inf, log
from typing import TYPE_CHECKING, Any, Final, Literal

from binder_observe.comparison.metrics import BY_NAME, Metric

if TYPE_CHECKING:
    import pandas as pd

SCHEMA: Final = 1
FALSE_DISCOVERIES: Final = 0.05
SMALLEST_CHANGE: Final = 0.01  # below, a difference counts for nothing, however sure it is
MOST_COUNTED: Final = log(10)  # a change of ten times or more, new and gone included, weighs like one of ten times

Interval = tuple[float | None, float | None]
"""95 %; a bound that is not reached is None."""

CAVEAT: Final = (
    "One run a side: how much runs of the same thing differ from each other shows in no interval and no test here. "
    "Record A twice and compare the two, as well."
)


@dataclass(frozen=True, slots=True)
class Side:
    """One recording, and what its numbers are worth."""

    label: str
    source: str
    kernel: str
    generation: str
    page_size: int
    tool_version: str
    command: str
    filters: dict[str, list[str]]
    duration_s: float
    complete: bool
    events: int
    lost_events: int
    unexplained: int
    mappings: int
    slices: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of all processes together (`comm` None), or of those of one name.

    `a`, `b` in the metric's unit, None where unknown, with the intervals of each; `ratio` = b / a, None where a is 0 or
    a value unknown. `p` is None where there is no test, `q` is p adjusted for the number of tests.
    """

    metric: Metric
    comm: str | None
    context: str | None
    a: float | None
    b: float | None
    a_ci: Interval | None = None
    b_ci: Interval | None = None
    ratio_ci: Interval | None = None
    test: Literal["slices", "log-rank"] | None = None
    p: float | None = None
    q: float | None = None
    weight: float = 1.0  # share of all page-time that the processes hold

    @property
    def ratio(self) -> float | None:
        return self.b / self.a if self.a and self.b is not None else None

    @property
    def change(self) -> float | None:
        """b / a - 1; infinite for something new, None where a value is unknown."""
        if self.a is None or self.b is None:
            return None
        if self.a == 0:
            return inf if self.b else 0.0
        return self.b / self.a - 1

    @property
    def tiny(self) -> bool:
        """Too small to count, or unknown."""
        return self.change is None or abs(self.change) < SMALLEST_CHANGE

    @property
    def significant(self) -> bool:
        """False discovery rate and interval agree that there is a difference, and it is not tiny."""
        if self.q is None or self.q > FALSE_DISCOVERIES or self.tiny:
            return False
        low, high = self.ratio_ci or (None, None)
        return self.ratio_ci is None or (low is not None and low > 1) or (high is not None and high < 1)

    @property
    def verdict(self) -> Literal["significant", "untested", "noise", "same", "unknown"]:
        if self.change is None:
            return "unknown"
        if self.change == 0:
            return "same"
        if self.p is None:
            return "untested"
        return "significant" if self.significant else "noise"

    @property
    def importance(self) -> float:
        """|log(b / a)|, at most that of ten times, by the weight of the processes."""
        if self.change is None or self.change == 0:
            return 0.0
        ratio = self.change + 1
        return self.weight * (MOST_COUNTED if ratio in (0, inf) else min(abs(log(ratio)), MOST_COUNTED))

    def to_dict(self) -> dict[str, Any]:
        return {
            "metric": self.metric.name,
            "kind": self.metric.kind,
            "unit": self.metric.unit,
            "comm": self.comm,
            "context": self.context,
            "a": self.a,
            "b": self.b,
            "a_ci95": list(self.a_ci) if self.a_ci else None,
            "b_ci95": list(self.b_ci) if self.b_ci else None,
            "ratio": self.ratio,
            "ratio_ci95": list(self.ratio_ci) if self.ratio_ci else None,
            "test": self.test,
            "p": self.p,
            "q": self.q,
            "verdict": self.verdict,
            "importance": self.importance,
        }


@dataclass(frozen=True, slots=True)
class Check:
    """What became of a `--fail-if`: `value` is the change of B against A in percent, or the value in B."""

    expression: str
    outcome: Literal["crossed", "kept", "noise"]
    value: float
    metric: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "expression": self.expression,
            "metric": self.metric,
            "outcome": self.outcome,
            "value": None if self.value == inf else self.value,
        }


_ORDER: Final = ("significant", "untested", "noise", "same", "unknown")


@dataclass(frozen=True, slots=True)
class Comparison:
    """`differences` come the most important first: significant ones, then those without a test, those within the noise,
    those that are none, those unknown; among equals by `importance`."""

    a: Side
    b: Side
    name: str | None  # only processes of this name
    slice_s: float
    warnings: tuple[str, ...]
    only_in_a: tuple[str, ...]  # names of processes, with their context
    only_in_b: tuple[str, ...]
    differences: tuple[Difference, ...]
    checks: tuple[Check, ...] = ()

    @property
    def simulated(self) -> bool:
        return "simulated" in (self.a.source, self.b.source)

    @property
    def significant(self) -> tuple[Difference, ...]:
        return tuple(d for d in self.differences if d.significant)

    def overall(self, metric: str) -> Difference:
        """Of all processes together. KeyError when there is no such metric."""
        wanted = BY_NAME[metric]
        return next(d for d in self.differences if d.comm is None and d.metric == wanted)

    def with_checks(self, checks: tuple[Check, ...]) -> Comparison:
        return replace(self, checks=checks)

    def to_dict(self) -> dict[str, Any]:
        """The JSON comparison, as docs/compare.md and reports/comparison/comparison.schema.json describe it."""
        return {
            "schema": SCHEMA,
            "simulated": self.simulated,
            "a": {**asdict(self.a), "notes": list(self.a.notes)},
            "b": {**asdict(self.b), "notes": list(self.b.notes)},
            "name": self.name,
            "slice_s": self.slice_s,
            "false_discovery_rate": FALSE_DISCOVERIES,
            "warnings": list(self.warnings),
            "caveat": CAVEAT,
            "only_in_a": list(self.only_in_a),
            "only_in_b": list(self.only_in_b),
            "thresholds": [check.to_dict() for check in self.checks],
            "differences": [difference.to_dict() for difference in self.differences],
        }

    def frame(self) -> pd.DataFrame:
        """One row a difference, in order: metric, kind, unit, verdict, test (category), comm, context (string; NA: all
        processes), a, b (in the metric's unit), ratio, p, q, importance (Float64; NA unknown), and the 95 % intervals
        as a_low, a_high, b_low, b_high, ratio_low, ratio_high (Float64; NA: none, or not reached)."""
        import pandas as pd

        rows = []
        for row in (d.to_dict() for d in self.differences):
            for side in ("a", "b", "ratio"):
                row[f"{side}_low"], row[f"{side}_high"] = row.pop(f"{side}_ci95") or (None, None)
            rows.append(row)
        categories, texts = ("metric", "kind", "unit", "verdict", "test"), ("comm", "context")
        numbers = ("a", "a_low", "a_high", "b", "b_low", "b_high", "ratio", "ratio_low", "ratio_high", "p", "q")
        frame = pd.DataFrame(rows, columns=[*categories, *texts, *numbers, "importance"])
        types = dict.fromkeys(categories, "category") | dict.fromkeys(texts, "string")
        return frame.astype({**types, **dict.fromkeys((*numbers, "importance"), "Float64")})


def in_order(differences: list[Difference]) -> tuple[Difference, ...]:
    """The most important first; those equal in that stay in their order."""
    return tuple(sorted(differences, key=lambda d: (_ORDER.index(d.verdict), -d.importance)))

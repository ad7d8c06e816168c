"""Compares two histories: every metric, of all processes together and of the largest by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from binder_observe.comparison import resampling
from binder_observe.comparison.comparable import not_comparable
from binder_observe.comparison.metrics import DURATIONS, METRICS, PROBABILITIES, SUMS, Metric
from binder_observe.comparison.result import Comparison, Difference, Side, in_order
from binder_observe.comparison.slices import Group, Name, Slices, restrict
from binder_observe.errors import ObserveError
from binder_observe.history import History

Floats = NDArray[np.float64]

SLICES: Final = 20  # of the shorter recording: few, so that a slice is longer than most bursts
MOST_SLICES: Final = 10 * SLICES
MOST_NAMES: Final = 8


def compare_histories(
    a: History, b: History, *, labels: tuple[str, str] = ("A", "B"), name: str | None = None
) -> Comparison:
    """What differs in `b` from `a`; with `name`, only of processes of that name. docs/compare.md says how.

    Raises ObserveError when neither recording has a process of that name.
    """
    if name is not None and not (restrict(a, name) or restrict(b, name)):
        known = sorted({s.comm for h in (a, b) for s in h.allocs if s.comm})
        raise ObserveError(f"no process called {name!r} in either recording; there are: {', '.join(known) or 'none'}")
    counts = _slice_counts(a, b)
    sliced = [Slices(h, n, None if name is None else restrict(h, name)) for h, n in zip((a, b), counts, strict=True)]
    held = [side.names() for side in sliced]
    weights = _weights(held[0], held[1])
    both = [n for n in weights if n in held[0] and n in held[1]]
    groups: list[Name | None] = [None, *both[:MOST_NAMES]]
    differences: list[Difference] = []
    tests: list[tuple[list[int], Floats, Floats]] = []  # numbers of differences, departures of the slices of a and b
    for group in groups:
        pair = sliced[0].group(group), sliced[1].group(group)
        _add(pair, group, 1.0 if group is None else weights[group], differences, tests)
    _judge(differences, tests)
    sides = _side(a, labels[0], counts[0]), _side(b, labels[1], counts[1])
    slice_s = min(side.duration_s / side.slices for side in sides)
    return Comparison(
        a=sides[0],
        b=sides[1],
        name=name,
        slice_s=slice_s,
        warnings=not_comparable(*sides, slice_s, same=_same(a, b)),
        only_in_a=_missing(weights, held[0], held[1]),
        only_in_b=_missing(weights, held[1], held[0]),
        differences=in_order([d for d in differences if d.comm is None or d.a or d.b]),
    )


def _slice_counts(a: History, b: History) -> tuple[int, int]:
    """Slices of the same length, as near as whole numbers of them allow."""
    durations = [max(h.end_ns - h.begin_ns, 1) for h in (a, b)]
    counts = [min(round(SLICES * d / min(durations)), MOST_SLICES) for d in durations]
    return counts[0], counts[1]


def _weights(a: dict[Name, int], b: dict[Name, int]) -> dict[Name, float]:
    """Each name's share of the page-time, mean of both recordings; the largest first."""
    total = sum(a.values()) or 1, sum(b.values()) or 1
    share = {n: (a.get(n, 0) / total[0] + b.get(n, 0) / total[1]) / 2 for n in {**a, **b}}
    return dict(sorted(share.items(), key=lambda item: (-item[1], item[0])))


def _missing(weights: dict[Name, float], here: dict[Name, int], there: dict[Name, int]) -> tuple[str, ...]:
    return tuple(f"{comm} ({context})" for comm, context in weights if (comm, context) in here.keys() - there.keys())


def _add(
    pair: tuple[Group, Group],
    name: Name | None,
    weight: float,
    differences: list[Difference],
    tests: list[tuple[list[int], Floats, Floats]],
) -> None:
    """The differences of one group, and the slices that their tests will take."""
    comm, context = name or (None, None)

    def found(metric: Metric, a: float | None, b: float | None) -> Difference:
        return Difference(metric, comm, context, a, b, weight=weight)

    sums = [m for m in METRICS if m.over]
    parts, wholes = ([g.sums[[SUMS.index(m.over[i]) for m in sums if m.over]] for g in pair] for i in (0, 1))
    values, drawn = zip(
        *(resampling.ratios(part, whole, seed=s) for s, (part, whole) in enumerate(zip(parts, wholes, strict=True))),
        strict=True,
    )
    pooled = resampling.divide(
        parts[0].sum(axis=1) + parts[1].sum(axis=1), wholes[0].sum(axis=1) + wholes[1].sum(axis=1)
    )
    departures = [resampling.departures(part, whole, pooled) for part, whole in zip(parts, wholes, strict=True)]
    for i, metric in enumerate(sums):
        difference = found(metric, _known(values[0][i]), _known(values[1][i]))
        # without a single event on either side there is nothing to test
        if difference.a is not None and difference.b is not None and (difference.a or difference.b):
            tests.append(([len(differences)], departures[0][i], departures[1][i]))
            difference = _sure(difference, "slices", drawn[0][i], drawn[1][i])
        differences.append(difference)

    for duration in DURATIONS:
        a, b = (g.durations[duration] for g in pair)
        (a_ns, a_drawn), (b_ns, b_drawn) = (
            resampling.quantiles(h, tuple(PROBABILITIES.values()), seed=s) for s, h in enumerate((a, b))
        )
        testable = len(a.bins) and len(b.bins) and (a.ended.any() or b.ended.any())
        if testable:
            numbers = [len(differences) + i for i in range(len(PROBABILITIES))]
            tests.append((numbers, *resampling.log_rank_scores(a, b)))
        for i, metric in enumerate(m for m in METRICS if m.duration == duration):
            difference = found(metric, _known(a_ns[i]), _known(b_ns[i]))
            if testable:
                difference = _sure(difference, "log-rank", a_drawn[i], b_drawn[i])
            differences.append(difference)

    differences.extend(found(m, pair[0].single[m.name], pair[1].single[m.name]) for m in METRICS if m.kind == "single")


def _sure(difference: Difference, test: Literal["slices", "log-rank"], a: Floats, b: Floats) -> Difference:
    """With the intervals that the bootstrap distributions give."""
    a_ci, b_ci, ratio_ci = (resampling.interval(drawn) for drawn in (a, b, resampling.divide(b, a)))
    return replace(difference, test=test, a_ci=a_ci, b_ci=b_ci, ratio_ci=ratio_ci)


def _judge(differences: list[Difference], tests: list[tuple[list[int], Floats, Floats]]) -> None:
    """Puts p and q of all tests together into the differences."""
    if not tests:
        return
    p = resampling.p_values(np.stack([a for _, a, _ in tests]), np.stack([b for _, _, b in tests]))
    q = resampling.adjusted(p)
    for (numbers, _, _), p_value, q_value in zip(tests, p, q, strict=True):
        for i in numbers:
            differences[i] = replace(differences[i], p=float(p_value), q=float(q_value))


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _side(h: History, label: str, slices: int) -> Side:
    r = h.report
    return Side(
        label=label, source=r.meta.source, kernel=r.meta.kernel, generation=r.meta.generation,
        page_size=r.meta.page_size, tool_version=r.meta.tool_version, command=r.meta.command, filters=r.meta.filters,
        duration_s=max(h.end_ns - h.begin_ns, 0) / 1e9, complete=r.complete, events=r.events,
        lost_events=r.lost_events, unexplained=sum(r.unexplained.values()), mappings=len(h.allocs), slices=slices,
        notes=r.notes,
    )  # fmt: skip


def _same(a: History, b: History) -> bool:
    """The same recording twice."""
    return bool(len(a.spans)) and a.begin_ns == b.begin_ns and np.array_equal(a.spans, b.spans)

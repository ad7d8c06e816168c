"""Durations and their quantiles: against brute force, lifelines, and durations whose distribution is known."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.utils import qth_survival_times
from numpy.typing import NDArray

from binder_observe.lifetimes.counts import Measure
from binder_observe.lifetimes.durations import Quantiles, bin_upper_ns, duration_bin, quantiles
from binder_observe.lifetimes.histograms import BLOCK_BITS, CENSORED, ENDED, Histograms, Ints, place_block
from binder_observe.lifetimes.histograms import count as count_duration
from binder_observe.lifetimes.tally import Tally, place
from binder_observe.lifetimes.totals import Totals
from binder_observe.rows import INSTALL, LIFE, SPAN, Began, Ended
from binder_observe.tracker import Finished

DURATIONS = st.lists(st.integers(0, 100), max_size=30)  # these have a bin each, so what follows is exact for them


def lives(
    durations: list[int], ended: Ended = Ended.RECLAIMED, began: Began = Began.INSTALLED, alloc: int = 1
) -> NDArray[np.void]:
    rows = np.zeros(len(durations), dtype=LIFE)
    rows["alloc"], rows["began"], rows["ended"] = alloc, began, ended
    rows["birth_ns"], rows["end_ns"] = 1000, 1000 + np.array(durations, dtype=np.int64)
    return rows


def totals(*parts: NDArray[np.void]) -> Totals:
    found = Totals()
    for part in parts:
        found.add(Finished(part, np.zeros(0, dtype=SPAN), np.zeros(0, dtype=INSTALL)))
    return found


def lifetime(found: Totals, alloc: int = 1) -> Quantiles:
    return found.counts().quantiles()[alloc][Measure.LIFETIME]


def overall(found: Totals) -> dict[Measure, Quantiles]:
    together = Totals()
    together.merge_durations(found.counts())
    return together.counts().quantiles().get(0, {})


def estimate(ended: list[int], censored: list[int]) -> Quantiles:
    bins = sorted({*ended, *censored})
    counts = [np.array([Counter(side)[b] for b in bins], dtype=np.int64) for side in (ended, censored)]
    return quantiles(np.array(bins, dtype=np.int64), counts[0], counts[1], max(ended, default=0))


@given(st.integers(0, 1 << 52))
def test_a_bin_is_narrow_and_holds_its_durations(duration: int) -> None:
    index = duration_bin(duration)
    upper = bin_upper_ns(index)
    assert duration <= upper <= duration + duration // 128
    assert duration_bin(upper) == index
    assert duration_bin(upper + 1) == index + 1


def test_a_clock_that_went_back_is_no_duration() -> None:
    assert duration_bin(-5) == 0


def brute_force(ended: list[int], censored: list[int], p: float) -> int | None:
    """Kaplan and Meier from their definition, life by life."""
    survival = 1.0
    for t in sorted(set(ended)):
        at_risk = sum(d >= t for d in ended) + sum(d >= t for d in censored)
        survival *= 1 - ended.count(t) / at_risk
        if survival <= 1 - p + 1e-12:
            return t
    return None


@given(DURATIONS, DURATIONS)
def test_quantiles_equal_brute_force(ended: list[int], censored: list[int]) -> None:
    found = estimate(ended, censored)
    assert (found.p50, found.p90, found.p99) == tuple(brute_force(ended, censored, p) for p in (0.5, 0.9, 0.99))
    assert (found.n, found.censored) == (len(ended) + len(censored), len(censored))


def of_lifelines(times: list[int], ended: list[bool]) -> list[tuple[int | None, ...]]:
    """(quantile, low, high) for each probability; the interval inverts lifelines' pointwise one."""
    fitter = KaplanMeierFitter(alpha=0.05).fit(times, ended)
    curve = fitter.survival_function_.iloc[:, 0].to_numpy()
    # lifelines gives no limits where the survival is 0; ours keep the upper one and let the lower one be 0
    limits = fitter.confidence_interval_survival_function_.copy()
    limits.iloc[curve <= 1e-12, 0] = 0.0
    limits.iloc[curve <= 1e-12, 1] = np.nan
    limits.iloc[:, 1] = limits.iloc[:, 1].ffill()
    found = []
    for p in (0.5, 0.9, 0.99):
        # the same tolerance against rounding of a product of many factors
        q = 1 - p + 1e-12
        three = (fitter.percentile(q), *(float(qth_survival_times(q, limits.iloc[:, [i]])) for i in (0, 1)))
        found.append(tuple(None if math.isinf(t) else int(t) for t in three))
    return found


def of_ours(found: Quantiles) -> list[tuple[int | None, ...]]:
    pairs = ((found.p50, found.p50_ci), (found.p90, found.p90_ci), (found.p99, found.p99_ci))
    return [(q, *(ci or (None, None))) for q, ci in pairs]


@pytest.mark.filterwarnings("ignore:Approximating using")  # lifelines, of quantiles of its step function
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 100), st.booleans()), min_size=1, max_size=40))
def test_intervals_equal_those_of_lifelines(rows: list[tuple[int, bool]]) -> None:
    times, ended = [t for t, _ in rows], [e for _, e in rows]
    found = estimate([t for t, e in rows if e], [t for t, e in rows if not e])
    assert of_ours(found) == of_lifelines(times, ended)


@pytest.mark.filterwarnings("ignore:Approximating using")
def test_long_durations_equal_lifelines_up_to_a_bin() -> None:
    rng = np.random.default_rng(3)
    durations = (rng.weibull(0.7, 5000) * 1e8).astype(np.int64)
    cut = rng.exponential(3e8, 5000).astype(np.int64)
    ended = durations <= cut
    found = lifetime(totals(lives(durations[ended].tolist()), lives(cut[~ended].tolist(), Ended.ALIVE)))
    seen = np.minimum(durations, cut).tolist()
    assert of_ours(found) == of_lifelines([bin_upper_ns(duration_bin(d)) for d in seen], ended.tolist())
    for ours, exact in zip(of_ours(found)[:2], of_lifelines(seen, ended.tolist())[:2], strict=True):
        assert ours[0] is not None
        assert exact[0] is not None
        assert abs(ours[0] - exact[0]) <= exact[0] / 128


def test_intervals_cover_the_true_quantile() -> None:
    """Exponential lives of mean 1 s, censored at random: 95 % of the intervals should hold the true median."""
    rng = np.random.default_rng(11)
    held, runs = 0, 300
    for _ in range(runs):
        durations, cut = rng.exponential(1e9, 200).astype(np.int64), rng.exponential(2e9, 200).astype(np.int64)
        ended = durations <= cut
        found = lifetime(totals(lives(durations[ended].tolist()), lives(cut[~ended].tolist(), Ended.ALIVE)))
        assert found.p50_ci is not None
        low, high = found.p50_ci
        assert low is not None
        held += low <= np.log(2) * 1e9 and (high is None or high >= np.log(2) * 1e9)
    # three standard deviations of a binomial around 95 %
    assert abs(held / runs - 0.95) <= 3 * math.sqrt(0.95 * 0.05 / runs)


def test_censored_lives_count() -> None:
    """Exponential lives of mean 1 s, cut at 1 s: their finished ones alone would say a median of 0.38 s."""
    durations = np.random.default_rng(1).exponential(1e9, 100_000).astype(np.int64)
    found = totals(
        lives(durations[durations < 1e9].tolist()), lives([10**9] * int((durations >= 1e9).sum()), Ended.ALIVE)
    )
    q = lifetime(found)
    assert q.p50 == pytest.approx(np.log(2) * 1e9, rel=0.02)
    assert q.p90 is None
    assert q.max == durations[durations < 1e9].max()


def test_left_truncated_lives_have_no_duration() -> None:
    found = totals(lives([5, 6], began=Began.BEFORE_ATTACH))
    assert found.counts().quantiles() == {}
    assert overall(found) == {}
    assert found.counts().ends()[1][Began.BEFORE_ATTACH, Ended.RECLAIMED] == 2
    assert 9999 not in found.counts().ends()


def test_nothing_finished() -> None:
    q = lifetime(totals(lives([5, 6], Ended.ALIVE)))
    assert (q.p50, q.p90, q.p99, q.max, q.p50_ci) == (None, None, None, 0, None)
    assert (q.n, q.censored) == (2, 2)


def test_no_quantile_is_longer_than_the_longest_life() -> None:
    q = lifetime(totals(lives([1_000_001] * 3, alloc=7)), 7)
    assert q.p99 == q.max == 1_000_001


def test_overall_is_what_one_alloc_would_have() -> None:
    rng = np.random.default_rng(5)
    parts = [rng.integers(0, 10**9, 50).tolist() for _ in range(4)]
    several = totals(*(lives(part, alloc=1000 * i) for i, part in enumerate(parts, 1)))
    one = totals(*(lives(part) for part in parts))
    assert overall(several) == {Measure.LIFETIME: lifetime(one)}


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 1000), st.sampled_from(Ended)), max_size=40),
    st.integers(0, 40),
)
def test_parts_add_up(rows: list[tuple[int, int, Ended]], cut: int) -> None:
    def of(part: list[tuple[int, int, Ended]]) -> NDArray[np.void]:
        return np.concatenate([lives([], alloc=1), *(lives([d], e, alloc=a) for a, d, e in part)])

    whole, split = totals(of(rows)), totals(of(rows[:cut]), of(rows[cut:]))
    assert whole.counts().quantiles() == split.counts().quantiles() == split.copy().counts().quantiles()
    assert whole.counts().who_sent() == split.counts().who_sent()
    ends, again = whole.counts().ends(), split.counts().ends()
    assert {alloc: n.tolist() for alloc, n in ends.items()} == {alloc: n.tolist() for alloc, n in again.items()}


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(-300, 1 << 40), st.sampled_from(Ended)), max_size=20))
def test_what_is_kept_of_one_alloc_adds_up_again(rows: list[tuple[int, int, Ended]]) -> None:
    """Durations below 0 are of events that two processors stamped."""
    parts = [lives([d], e, alloc=a) for a, d, e in rows]
    for part in parts:
        part["active_ns"] = part["end_ns"] - part["birth_ns"]
        part["installer"] = 7
    counts = totals(*parts).counts()
    again = Totals()
    for alloc in (1, 2):
        again.merge(counts.of(alloc), {0: alloc})
    assert again.counts().quantiles() == counts.quantiles()
    assert again.counts().who_sent() == counts.who_sent()


def test_memory_grows_with_bins_not_with_lives() -> None:
    durations = np.random.default_rng(2).integers(0, 10**9, 3000).tolist()
    found = totals(lives(durations))
    before = [array.shape for array in found._durations.arrays]
    for _ in range(20):
        found.add(Finished(lives(durations), np.zeros(0, dtype=SPAN), np.zeros(0, dtype=INSTALL)))
    assert [array.shape for array in found._durations.arrays] == before
    assert lifetime(found).n == 21 * len(durations)


@given(st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, 9), st.booleans(), st.booleans()), max_size=200))
def test_histograms_are_counters(counted: list[tuple[int, int, bool, bool]]) -> None:
    """Some blocks are taken out in between, as those of a mapping that is gone are."""
    histograms, gone = Histograms(), []
    expected: Counter[tuple[int, int]] = Counter()
    longest: dict[int, int] = {}
    for key, duration, censored, take in counted:
        column = CENSORED if censored else ENDED
        while not _count(*histograms.arrays, key, column, duration):
            histograms.grow()
        expected[key, column] += 1
        block = key >> BLOCK_BITS
        longest[block] = max(longest.get(block, 0), 0 if censored else duration)
        if take:
            mine = block >> 5
            gone.append(histograms.take(np.array([mine]), BLOCK_BITS + 5))
            assert mine not in histograms.rows()[1][0] >> 5
    whole = histograms.copy()
    for bins, of_block in gone:
        whole.merge(*(np.column_stack(sums) for sums in (bins, of_block)))
    (keys, n_of), (blocks, most) = whole.rows()
    assert keys.tolist() == sorted({key for key, _ in expected})
    assert n_of.tolist() == [[expected[key, ENDED], expected[key, CENSORED]] for key in keys.tolist()]
    assert dict(zip(blocks.tolist(), most[:, 0].tolist(), strict=True)) == longest


def _count(blocks: Ints, used: Ints, bins: Ints, n_places: Ints, key: int, column: int, duration: int) -> bool:
    row = place_block(blocks, used, bins, n_places, key)
    if row >= 0:
        count_duration(blocks, bins, row, key, column, duration)
    return bool(row >= 0)


@given(st.lists(st.integers(0, 1 << 56), max_size=300))
def test_a_tally_is_a_counter(keys: list[int]) -> None:
    tally = Tally(1, 4)
    for key in keys:
        while (row := place(tally.table, tally.used, key)) < 0:
            tally.grow()
        tally.table[row, 1] += 1
    found, sums = tally.rows()
    assert dict(zip(found.tolist(), sums[:, 0].tolist(), strict=True)) == Counter(keys)
    assert found.tolist() == sorted(found.tolist())
    assert 2 * len(found) <= len(tally.table)

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.exceptions import StatError
from lifelines.utils import qth_survival_time
from numpy.typing import NDArray
from scipy import stats

from binder_observe.errors import ObserveError
from binder_observe.frames.lives import df_lifetimes, df_spans, window
from binder_observe.frames.survival import df_quantiles, df_survival
from binder_observe.history import collect
from binder_observe.sources.simulator import SimulatorSource

SECOND = 1_000_000_000


def frame_of(entry: Any, duration: Any, ended: Any, **columns: Any) -> pd.DataFrame:
    """A lives frame, as far as survival looks at it."""
    return pd.DataFrame(
        {
            "entry_ns": pd.array(entry, dtype="Int64"),
            "duration_ns": pd.array(duration, dtype="Int64"),
            "ended": pd.Categorical(np.where(ended, "reclaimed", "alive")),
            **columns,
        }
    )


_LIVES = st.lists(
    # age at entry, how much longer, whether it ended: few different values, so that there are ties
    st.tuples(st.sampled_from((0, 0, 1, 2, 5)), st.integers(0, 6), st.booleans()).filter(lambda v: v[0] == 0 or v[1]),
    min_size=1,
    max_size=25,
)


@given(_LIVES)
def test_at_risk_are_those_who_entered_before_and_are_still_there(lives: list[tuple[int, int, bool]]) -> None:
    entry, duration, ended = [v[0] for v in lives], [v[0] + v[1] for v in lives], [v[2] for v in lives]
    curve = df_survival(frame_of(entry, duration, ended))
    assert curve["duration_ns"].tolist() == sorted({0, *duration})
    survival = 1.0
    for age, at_risk, ends, censored, found in curve.iloc[:, :5].itertuples(index=False):
        there = [(e < age or e == 0) and age <= d for e, d in zip(entry, duration, strict=True)]
        assert at_risk == sum(there)
        assert ends == sum(d == age and x for d, x in zip(duration, ended, strict=True))
        assert censored == sum(d == age and not x for d, x in zip(duration, ended, strict=True))
        survival *= 1 - ends / at_risk if ends else 1
        assert found == pytest.approx(survival)


@settings(max_examples=40)
@given(_LIVES)
def test_lifelines_agrees(lives: list[tuple[int, int, bool]]) -> None:
    entry, duration, ended = (np.array(column) for column in zip(*((e, e + d, x) for e, d, x in lives), strict=True))
    assume(entry.min() == 0)  # else lifelines counts who enters first as there from birth
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            judge = KaplanMeierFitter().fit(duration, ended, entry=entry if entry.any() else None)
    except StatError:
        assume(False)
    curve = df_survival(frame_of(entry, duration, ended)).set_index("duration_ns")
    expected = judge.survival_function_.iloc[:, 0].reindex(curve.index)
    assert curve["survival"].to_numpy() == pytest.approx(expected.to_numpy())
    # lifelines has limits without any width at 0 and 1
    inner = (curve["survival"] > 0) & (curve["survival"] < 1)
    limits = judge.confidence_interval_.reindex(curve.index)[inner].to_numpy()
    assert curve.loc[inner, ["ci_low", "ci_high"]].to_numpy() == pytest.approx(limits)
    assert curve.loc[~inner, ["ci_low", "ci_high"]].isna().all(axis=None)
    quantiles = df_quantiles(frame_of(entry, duration, ended))
    for p, name in ((0.5, "p50_ns"), (0.9, "p90_ns"), (0.99, "p99_ns")):
        level = qth_survival_time(1 - p + 1e-9, judge.survival_function_.iloc[:, 0])  # it knows of no rounding
        assert quantiles[name][0] is pd.NA if np.isinf(level) else quantiles[name][0] == level


def test_scipy_agrees() -> None:
    rng = np.random.default_rng(1)
    duration, ended = rng.integers(1, 60, 200), rng.random(200) < 0.7
    judge = stats.ecdf(stats.CensoredData(uncensored=duration[ended], right=duration[~ended])).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no interval where all have ended
        limits = judge.confidence_interval(method="log-log")
    curve = df_survival(frame_of(np.zeros(200), duration, ended)).set_index("duration_ns")
    ends = curve.loc[judge.quantiles]
    assert ends["survival"].to_numpy() == pytest.approx(judge.probabilities)
    inner = ends["survival"] > 0
    assert ends["ci_low"][inner].to_numpy() == pytest.approx(limits.low.probabilities[inner])
    assert ends["ci_high"][inner].to_numpy() == pytest.approx(limits.high.probabilities[inner])


def test_a_risk_set_that_runs_empty() -> None:
    """lifelines refuses both."""
    censored = df_survival(frame_of([0, 5, 5], [1, 6, 7], [False, True, True]))
    assert censored["at_risk"].tolist() == [1, 1, 2, 1]
    assert censored["survival"].tolist() == [1, 1, 0.5, 0]
    ended = df_survival(frame_of([0, 5, 5], [1, 6, 7], [True, True, True]))
    assert ended["survival"].tolist() == [1, 0, 0, 0]
    assert ended[["ci_low", "ci_high"]].isna().all(axis=None)


def test_who_was_never_under_observation_counts_nowhere() -> None:
    frame = frame_of([5, 0], [5, 7], [True, True])
    assert df_quantiles(frame)[["n", "ended"]].to_numpy().tolist() == [[1, 1]]
    assert df_survival(frame)["duration_ns"].tolist() == [0, 7]


DISTRIBUTIONS = {"exponential": stats.expon(scale=2.0), "weibull": stats.weibull_min(0.7, scale=1.0)}


def lived(distribution: Any, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Pages that are installed all the time from 20 s before to 5 s after 0; nothing of them is hidden."""
    birth = rng.integers(-20 * SECOND, 5 * SECOND, n)
    duration = (distribution.rvs(n, random_state=rng) * SECOND).astype(np.int64)
    end = birth + duration
    frame = frame_of(np.zeros(n), duration, np.ones(n, dtype=bool), observed_ns=birth, end_ns=end)
    frame["ended"] = frame["ended"].cat.add_categories(["alive"])
    return frame.assign(
        birth_ns=pd.array(birth, dtype="Int64"), active_ns=duration, lru_ns=0, reuses=0,
        ender_pid=pd.array(np.ones(n, dtype=np.int64), dtype="UInt32"), ender_comm=pd.Categorical(["kswapd0"] * n),
    )  # fmt: skip


def off(curve: pd.DataFrame, distribution: Any) -> float:
    """The largest distance from the true curve, where at least a hundred are at risk."""
    sure = curve[(curve["at_risk"] >= 100).cummin()]
    return float(np.abs(sure["survival"] - distribution.sf(sure["duration_ns"] / SECOND)).max())


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_window_of_a_known_distribution(name: str) -> None:
    """Seen from 0 s to 5 s: half are there before, some go on after."""
    distribution = DISTRIBUTIONS[name]
    seen = window(lived(distribution, 60_000, np.random.default_rng(7)), 0, 5 * SECOND)
    assert (seen["entry_ns"] > 0).mean() > 0.1
    assert (seen["ended"] == "alive").mean() > 0.1
    assert off(df_survival(seen), distribution) < 0.03
    # what goes wrong when either is not treated as what it is
    assert off(df_survival(seen.assign(entry_ns=0)), distribution) > 0.1
    assert off(df_survival(seen[seen["ended"] != "alive"]), distribution) > 0.06
    truth = distribution.ppf([0.5, 0.9]) * SECOND
    quantiles = df_quantiles(seen).iloc[0]
    for p, true_ns in zip((50, 90), truth, strict=True):
        assert quantiles[f"p{p}_ns"] == pytest.approx(true_ns, rel=0.1)
        assert quantiles[f"p{p}_low_ns"] <= quantiles[f"p{p}_ns"] <= quantiles[f"p{p}_high_ns"]


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_intervals_cover_the_truth_as_often_as_they_say(name: str) -> None:
    distribution, rng = DISTRIBUTIONS[name], np.random.default_rng(3)
    samples, n = 600, 120
    birth = rng.uniform(-2, 3, samples * n)
    end = birth + distribution.rvs(samples * n, random_state=rng)
    stop = rng.uniform(3, 5, samples * n)
    there = end > 0
    frame = frame_of(
        (np.clip(-birth, 0, None) * SECOND).astype(np.int64)[there],
        ((np.minimum(end, stop) - birth) * SECOND).astype(np.int64)[there],
        (end <= stop)[there],
        sample=np.repeat(np.arange(samples), n)[there],
    )
    for p in (0.5, 0.8):
        true_ns = distribution.ppf(p) * SECOND
        quantiles = df_quantiles(frame, "sample", (p,))
        low, high = (quantiles[f"p{p * 100:g}_{side}_ns"].astype("Float64") for side in ("low", "high"))
        assert covered(low.le(true_ns).fillna(True) & high.ge(true_ns).fillna(True))
        curve = df_survival(frame, "sample")
        at = curve[curve["duration_ns"] <= true_ns].groupby("sample").last()
        assert covered(((at["ci_low"] <= 1 - p) & (at["ci_high"] >= 1 - p))[at["ci_low"].notna()])


def covered(hit: pd.Series) -> bool:
    """95 % up to four standard errors."""
    return bool(abs(hit.mean() - 0.95) < 4 * (0.95 * 0.05 / len(hit)) ** 0.5)


def test_groups_are_sorted_and_unknown_births_counted() -> None:
    frame = frame_of(
        [0, 0, 0, None, None], [4, 2, 9, None, None], [True, True, False, True, True],
        comm=pd.Categorical(["b", "b", "a", "a", None]), pid=pd.array([1, 1, 2, 2, None], dtype="UInt32"),
    )  # fmt: skip
    found = df_quantiles(frame, ["comm", "pid"])
    assert found["comm"].astype(object).fillna("?").tolist() == ["a", "b", "?"]
    assert found.iloc[:, 2:6].to_numpy().tolist() == [[1, 0, 1, 1], [2, 2, 0, 0], [0, 0, 0, 1]]
    assert found["p50_ns"].isna().tolist() == [True, False, True]
    assert found["p50_ns"][1] == 2
    assert found.dtypes["pid"] == "UInt32"
    curve = df_survival(frame, "comm")
    assert curve["comm"].tolist() == ["a", "a", "b", "b", "b"]
    assert curve["survival"].tolist() == [1, 1, 1, 0.5, 0]


def test_frames_of_a_scenario() -> None:
    source = SimulatorSource("memory-pressure", duration_s=2.0)
    h = collect(source.meta, source.batches())
    lives, spans = df_lifetimes(h), df_spans(h)
    quantiles = df_quantiles(lives, "alloc").set_index("alloc")
    for p in h.report.processes:
        assert p.lifetime is not None
        for name, binned in (("p50_ns", p.lifetime.p50), ("p90_ns", p.lifetime.p90), ("p99_ns", p.lifetime.p99)):
            exact = quantiles[name][p.state.alloc]
            assert (exact is pd.NA) == (binned is None)
            # bins are 1/128 wide, and hide the order of ends and censorings within them
            assert binned is None or binned == pytest.approx(exact, rel=1 / 64)
        ended = [p.lives_ended[name] for name in ("reclaimed", "released")]
        assert quantiles["ended"][p.state.alloc] == sum(ended)
    idle = spans[spans["state"] == "lru"]
    found = df_quantiles(spans, ["state"]).set_index("state").loc["lru"]
    assert (found["n"], found["ended"]) == (len(idle), int(idle["end_known"].sum()))
    assert df_quantiles(idle).iloc[0]["p50_ns"] == found["p50_ns"]


def test_frames_that_it_cannot_use() -> None:
    source = SimulatorSource("steady", duration_s=0.05)
    h = collect(source.meta, source.batches())
    with pytest.raises(ObserveError, match="several states"):
        df_survival(df_spans(h))
    with pytest.raises(ObserveError, match="no column nowhere"):
        df_quantiles(df_lifetimes(h), "nowhere")
    with pytest.raises(ObserveError, match="df_lifetimes"):
        df_survival(df_lifetimes(h)[["page"]])
    with pytest.raises(ObserveError, match="between 0 and 1"):
        df_quantiles(df_lifetimes(h), (), (50,))


def test_nothing_gives_nothing() -> None:
    empty: NDArray[np.bool_] = np.zeros(0, dtype=bool)
    for by in ((), ("comm",)):
        frame = frame_of([], [], empty, comm=pd.Categorical([]))
        some = frame_of([0], [1], [True], comm=pd.Categorical(["a"]))
        for make in (df_survival, df_quantiles):
            assert len(make(frame, by)) == 0
            assert make(frame, by).dtypes.astype(str).tolist() == make(some, by).dtypes.astype(str).tolist()

"""The rules that all plots share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from binder_observe.plots import names, style
from binder_observe.plots.steps import decimate, total
from binder_observe.rows import State


def test_every_state_has_its_own_colour() -> None:
    assert set(style.STATE_COLOURS) == {state.name.lower() for state in State} == set(style.STATE_NAMES)
    assert len(set(style.STATE_COLOURS.values())) == len(State)
    assert not set(style.SERIES) & set(style.STATE_COLOURS.values())


@pytest.mark.parametrize(
    ("value_s", "text"),
    [(1e-9, "1 ns"), (1e-6, "1 µs"), (2.5e-5, "25 µs"), (1e-3, "1 ms"), (0.1, "100 ms"), (1, "1 s"), (1e4, "10,000 s")],
)
def test_durations_have_units(value_s: float, text: str) -> None:
    assert style.duration(value_s) == text


@given(st.lists(st.floats(1e-9, 1e6), min_size=1))
def test_an_axis_of_durations_holds_all_of_them_between_whole_decades(values: list[float]) -> None:
    low, high = style.decades(np.array([0.0, *values]))
    assert low <= min(values) * (1 + 1e-8)
    assert max(values) <= high * (1 + 1e-8)
    assert high / low >= 9.99
    assert np.log10([low, high]) == pytest.approx(np.round(np.log10([low, high])))


def test_tick_labels_of_times_have_no_offset() -> None:
    ax = Figure().add_subplot()
    ax.plot(style.seconds(np.array([7 * 10**15, 7 * 10**15 + 1000])), [1, 2])
    style.time_axis(ax)
    ax.figure.canvas.draw()
    assert ax.xaxis.get_offset_text().get_text() == ""


def test_seconds_are_exact_for_a_machine_that_is_up_for_a_century() -> None:
    century_ns = 100 * 365 * 86400 * 10**9
    assert style.seconds(np.array([century_ns + 1]), century_ns)[0] == 1e-9
    assert np.isnan(style.seconds(pd.array([pd.NA], dtype="Int64"), 5)[0])


@given(st.lists(st.integers(0, 9), unique=False), st.integers(1, 12))
def test_the_largest_and_the_rest_are_all(weights: list[int], most: int) -> None:
    shown, rest = style.largest(pd.Series(weights, dtype="int64"), most)
    assert sorted([*shown, *rest]) == list(range(len(weights)))
    assert len(shown) + bool(rest) <= most
    assert min([weights[i] for i in shown], default=9) >= max([weights[i] for i in rest], default=0)


def test_a_frame_that_fits_has_no_rest() -> None:
    assert style.largest(pd.Series([1, 3, 2]), 3) == ([1, 2, 0], [])


@given(st.text())
def test_names_are_one_printable_line(name: str) -> None:
    text = names.plain(name)
    assert text.isprintable()
    assert len(text.replace(r"\$", "$")) <= names.LONGEST
    assert text.count("$") == text.count(r"\$")


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=300), st.integers(3, 60))
def test_decimation_draws_the_same_range_in_each_column(heights: list[int], points: int) -> None:
    y = np.array(heights, dtype=np.float64)
    x = np.arange(len(y), dtype=np.float64)
    at = decimate(x, y, points)
    assert (np.diff(at) > 0).all()
    assert at[0] == 0
    assert at[-1] == len(y) - 1
    assert y[at].min() == y.min()
    assert y[at].max() == y.max()
    if len(y) > points:
        columns = max(points // 3, 1)
        assert len(at) <= 3 * columns + 1
        edges = np.linspace(0, x[-1], columns + 1)
        last = np.searchsorted(x, edges[1:-1], side="left") - 1  # what holds where the next column begins
        drawn = np.searchsorted(at, last, side="right") - 1
        assert np.array_equal(y[at[drawn]], y[last])


steps = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), min_size=1, max_size=10, unique_by=lambda s: s[0])


@given(st.lists(steps, min_size=1, max_size=4))
def test_the_total_of_step_functions(functions: list[list[tuple[int, int]]]) -> None:
    functions = [sorted(f) for f in functions]
    times, sums = total([(np.array([t for t, _ in f]), np.array([float(v) for _, v in f])) for f in functions])
    for t in range(21):
        expected = sum(next((v for at, v in reversed(f) if at <= t), 0) for f in functions)
        i = np.searchsorted(times, t, side="right") - 1
        assert (sums[i] if i >= 0 else 0) == expected

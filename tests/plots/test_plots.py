"""What holds for every plot."""

from __future__ import annotations

import subprocess
import sys
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from binder_observe import plots
from binder_observe.plots import style
from tests.plots import make
from tests.plots.drawn import PLOTS, axes, draw, entries, lanes, svg, words

EVERY = pytest.mark.parametrize("name", PLOTS)
WITH_PROCESSES = pytest.mark.parametrize(
    "name", ["residency", "survival", "lru", "senders", "fragmentation", "leaks", "lifetimes"]
)


@EVERY
def test_axes_are_labelled_with_units(name: str) -> None:
    _, frame, x, y = PLOTS[name]
    ax = draw(name, frame(3))
    assert (ax.get_xlabel(), ax.get_ylabel()) == (x, y)
    assert ax.get_title(loc="left")


@EVERY
def test_an_empty_frame_says_so_in_words(name: str) -> None:
    ax = draw(name, PLOTS[name][1](1).iloc[:0])
    assert "no data: " in words(ax)
    assert not ax.lines
    assert not ax.patches
    assert "no data: " in svg(ax)


def test_an_empty_page_map_says_so_in_words() -> None:
    edges, states = make.page_map()
    for nothing in (states[:0], np.full_like(states, 255)):
        ax = plots.plot_page_map((edges, nothing), axes())
        assert "no data: " in words(ax)
        assert not ax.images


@EVERY
@pytest.mark.parametrize("processes", [1, 50])
def test_it_draws_without_a_warning(name: str, processes: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(svg(draw(name, PLOTS[name][1](processes)))) < 300_000


@EVERY
def test_the_frame_is_left_as_it_was(name: str) -> None:
    frame = PLOTS[name][1](20)
    before = frame.copy(deep=True)
    draw(name, frame)
    pd.testing.assert_frame_equal(frame, before)


@EVERY
def test_the_labels_of_rows_do_not_matter(name: str) -> None:
    frame = PLOTS[name][1](3)
    again = frame.set_axis(range(1000, 1000 + len(frame)))
    assert words(draw(name, again)) == words(draw(name, frame))


def test_with_an_ax_pyplot_is_not_even_imported() -> None:
    code = """
import sys
from tests.plots.drawn import PLOTS, draw
for name, (_, frame, *_) in PLOTS.items():
    draw(name, frame(1))
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_an_ax_there_is_a_figure() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    with mpl.rc_context({"backend": "agg"}):
        ax = plots.plot_lru(make.lru(2))
    assert len(plt.get_fignums()) == len(before) + 1
    plt.close(ax.figure)  # type: ignore[arg-type]


@WITH_PROCESSES
def test_fifty_processes_are_the_largest_and_others(name: str) -> None:
    ax = draw(name, PLOTS[name][1](50))
    assert "others" in words(ax)
    assert len(lanes(ax)) <= max(style.LANES, 12)
    assert len(entries(ax)) <= style.LINES + 3
    assert "others" not in words(draw(name, PLOTS[name][1](3)))


@WITH_PROCESSES
def test_wicked_names_are_drawn_as_they_are(name: str) -> None:
    def wicked(frame: pd.DataFrame) -> pd.DataFrame:
        renamed = {old: make.WICKED[i % len(make.WICKED)] for i, old in enumerate(frame["comm"].unique())}
        return frame.assign(comm=frame["comm"].astype(object).map(renamed).astype("category"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = draw(name, wicked(PLOTS[name][1](7)), largest=30)
        picture = svg(ax)
    assert "$x^2$" in picture
    assert "back\\slash$" in picture
    assert "_under_" in picture
    assert "tab?here" in picture
    assert "?[31mred" in picture
    assert "&lt;b&gt;&amp;amp;" in picture
    assert "a very long name indeed…" in picture


def test_colours_of_text_and_grid_come_from_the_settings() -> None:
    with mpl.rc_context(rc={
        "text.color": "#12fe56", "axes.labelcolor": "#12fe56", "axes.edgecolor": "#12fe56",
        "xtick.color": "#12fe56", "ytick.color": "#12fe56",
    }):  # fmt: skip
        pictures = [svg(draw(name, PLOTS[name][1](1))) for name in PLOTS]
        pictures.append(svg(plots.plot_page_map(make.page_map(), axes())))
    for picture in pictures:
        assert "#12fe56" in picture
        assert "#000000" not in picture.replace("fill: none; stroke: #000000", "")


@EVERY
def test_data_that_was_not_seen_live_is_marked(name: str) -> None:
    frame = PLOTS[name][1](1)
    titles = {}
    for source in ("live", "simulated", "imported"):
        frame.attrs["source"] = source
        titles[source] = draw(name, frame).get_title(loc="left")
    assert titles["simulated"] == f"SIMULATED: {titles['live']}"
    assert titles["imported"] == f"IMPORTED: {titles['live']}"

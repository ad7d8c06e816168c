"""Plots over time, and distributions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from binder_observe import plots
from binder_observe.plots import style
from binder_observe.plots.steps import POINTS
from binder_observe.rows import State
from tests.plots import make
from tests.plots.drawn import areas, axes, draw, entries, lines, svg, words


def test_residency_of_one_mapping_stacks_its_states() -> None:
    frame = make.residency(1)
    ax = draw("residency", frame, origin_ns=make.BEGIN_NS)
    tops = {colour: (heights, edges) for heights, edges, colour in areas(ax)}
    active, lru, unknown = (tops[to_rgba(style.STATE_COLOURS[state])] for state in ("active", "lru", "unknown"))
    assert np.array_equal(active[0], frame["active"])
    assert np.array_equal(lru[0], frame["active"] + frame["lru"])
    assert np.array_equal(unknown[0], frame["active"] + frame["lru"] + frame["unknown"])
    assert np.allclose(lru[1][:-1], (frame["ts_ns"] - make.BEGIN_NS) / 1e9)
    assert entries(ax) == ["unknown", "lru (idle)", "active"]
    assert ax.patches[0].get_hatch()  # unknown is behind, and hatched


def test_residency_draws_free_pages_when_asked() -> None:
    frame = make.residency(1, by="all")
    ax = draw("residency", frame, free=True)
    assert entries(ax)[0] == "free"
    assert np.array_equal(areas(ax)[0][0], frame[["active", "lru", "free", "unknown"]].sum(axis=1))


def test_residency_of_several_draws_what_each_holds_to_the_end() -> None:
    frame = make.residency(3)
    ax = draw("residency", frame)
    last = (frame["ts_ns"].max() - frame["ts_ns"].min()) / 1e9
    held = frame["active"] + frame["lru"]
    order = held.groupby(frame["alloc"]).max().sort_values(ascending=False, kind="stable").index
    for (x, y), alloc in zip(lines(ax), order, strict=True):
        assert np.array_equal(y[:-1], held[frame["alloc"] == alloc])
        assert x[-1] == last
    assert {line.get_drawstyle() for line in ax.lines} == {"steps-post"}


def test_residency_by_process_and_of_all() -> None:
    assert entries(draw("residency", make.residency(2, by="pid")))[0] == "1001 surfaceflinger"
    assert entries(draw("residency", make.residency(1, by="all")))[-1] == "active"


def test_others_are_the_sum_of_the_rest_at_any_time() -> None:
    frame = make.residency(9, rows=50)
    ax = draw("residency", frame, largest=7)
    assert entries(ax)[-1] == "3 others together"
    held = (frame["active"] + frame["lru"]).groupby([frame["ts_ns"], frame["alloc"]]).last().unstack("alloc")
    rest = held.max().sort_values(kind="stable").index[:3]
    expected = held[rest].ffill().fillna(0).sum(axis=1)
    x, y = lines(ax)[-1]
    at = np.searchsorted(x, style.seconds(held.index, int(held.index[0])), side="right") - 1
    assert np.array_equal(y[at], expected)


def test_others_that_would_dwarf_the_largest_are_named_only() -> None:
    ax = draw("residency", make.residency(50))
    assert len(ax.lines) == style.LINES - 1
    assert entries(ax)[-1].startswith("43 others not shown:\nup to about ")


def test_a_million_changes_make_a_small_picture_that_misses_no_extreme() -> None:
    n = 1_000_000
    lru = np.full(n, 100)
    lru[654_321], lru[777_777] = 5000, 0
    none = np.zeros(n, dtype=np.int64)
    ts = make.BEGIN_NS + np.arange(n) * 1000
    frame = pd.DataFrame({"ts_ns": ts, "active": none, "lru": lru, "free": none, "unknown": none})
    ax = draw("residency", frame)
    ((heights, _, _),) = areas(ax)
    assert len(heights) <= POINTS + 1
    assert (heights.max(), heights.min()) == (5000, 0)
    noisy = draw("residency", frame.assign(active=np.arange(n) % 7, lru=np.arange(n) % 11, unknown=np.arange(n) % 13))
    assert len(svg(noisy)) < 300_000


def test_survival_draws_the_curve_its_band_and_the_censored() -> None:
    frame = make.survival(1)
    ax = draw("survival", frame)
    (x, y), (marked, _) = lines(ax)
    assert np.array_equal(y, frame["survival"])
    assert np.allclose(x[1:], frame["duration_ns"][1:] / 1e9)
    assert ax.lines[0].get_drawstyle() == "steps-post"
    assert len(ax.collections) == 1  # the band
    assert ax.lines[1].get_marker() == "|"
    assert len(marked) > 10
    assert np.isin(marked, frame["duration_ns"][frame["censored"] > 0] / 1e9).all()
    assert "censored (may go on)" in entries(ax)


def test_survival_without_censoring_has_no_marks() -> None:
    ax = draw("survival", make.survival(1).assign(censored=0))
    assert len(ax.lines) == 1
    assert "censored (may go on)" not in entries(ax)


def test_survival_of_many_drops_bands_and_says_so() -> None:
    ax = draw("survival", make.survival(50))
    assert not ax.collections
    assert entries(ax)[-2:] == ["95 % bands not shown", "43 others not shown"]


def test_survival_of_everything_is_one_curve() -> None:
    ax = draw("survival", make.survival(1).drop(columns=["pid", "comm"]))
    assert entries(ax)[0] == "all"


def test_survival_names_groups_by_their_columns() -> None:
    frame = make.survival(2).drop(columns="comm").assign(began="_x")
    assert entries(draw("survival", frame))[0] == "pid 1000, began _x"


def test_survival_of_tasks_without_a_name_is_drawn() -> None:
    frame = make.survival(2).drop(columns="pid")
    frame["comm"] = pd.Categorical(frame["comm"], categories=["system_server"])
    assert entries(draw("survival", frame))[:2] == ["comm system_server", "comm unknown"]


def test_page_map_draws_each_state_in_its_colour() -> None:
    edges, states = make.page_map()
    ax = plots.plot_page_map((edges, states), axes())
    image = ax.images[0]
    assert ax.get_xlabel() == "time since the beginning (s)"
    assert ax.get_ylabel() == "page index (pages)"
    assert np.allclose(image.get_extent(), (0, 20, -0.5, len(states) - 0.5))
    for state in State:
        shown = image.to_rgba(np.ma.masked_array([[int(state)]]))[0, 0]
        assert np.allclose(shown, to_rgba(style.STATE_COLOURS[state.name.lower()]))
    drawn = image.get_array()
    assert isinstance(drawn, np.ma.MaskedArray)
    assert np.array_equal(drawn.filled(255), states)
    assert np.array_equal(drawn.mask, states == 255)
    assert entries(ax) == ["active", "lru (idle)", "unknown", "free", "blank: not mapped"]
    assert len(svg(ax)) < 300_000


def test_page_map_has_page_0_below_and_names_only_states_that_occur() -> None:
    states = np.zeros((4, 10), dtype=np.uint8)
    ax = plots.plot_page_map((np.arange(11), states), axes(), source="simulated")
    assert ax.get_title(loc="left") == "SIMULATED: Page map"
    low, high = ax.get_ylim()
    assert low < high
    assert ax.images[0].origin == "lower"
    assert entries(ax) == ["free"]


def test_bursts_are_stems_coloured_by_how() -> None:
    frame = make.bursts(12)
    ax = draw("bursts", frame, origin_ns=make.BEGIN_NS - make.S)
    heads = {head for x, y in lines(ax, "o") for head in zip(x, y, strict=True)}
    assert heads == set(zip((frame["begin_ns"] - make.BEGIN_NS + make.S) / 1e9, frame["pages"], strict=True))
    assert entries(ax) == ["kswapd, 3 bursts", "direct, 3 bursts", "other, 3 bursts", "mixed, 3 bursts"]
    assert len({line.get_color() for line in ax.lines}) == 4


def test_one_burst_alone_has_no_time_before_the_beginning() -> None:
    ax = draw("bursts", make.bursts(1))
    assert entries(ax) == ["kswapd, 1 burst"]
    assert ax.get_xlim() == pytest.approx((-0.02, 1.02))


def test_reclaims_are_counted_up_to_the_end() -> None:
    frame = make.reclaims(3000)
    drawn = lines(draw("reclaims", frame))
    assert [y[-1] for _, y in drawn] == [(frame["how"] == how).sum() for how in ("kswapd", "direct", "other")]
    assert {x[-1] for x, _ in drawn} == {style.seconds(frame["ts_ns"], make.BEGIN_NS)[-1]}


def test_install_latency_is_the_empirical_distribution() -> None:
    frame = make.installs(1)
    ax = draw("installs", frame)
    for during, (x, y) in zip((False, True), lines(ax), strict=True):
        latency = frame["latency_ns"][frame["during_reclaim"] == during].dropna().to_numpy(dtype=np.float64) / 1e9
        for seconds in np.quantile(latency, [0.1, 0.5, 0.99]):
            assert y[np.searchsorted(x, seconds, side="right") - 1] == pytest.approx((latency <= seconds).mean())
    assert entries(ax) == ["otherwise, n = 702", "during reclaim, n = 180", "18 without a latency"]


def test_installs_without_any_latency_say_so() -> None:
    frame = make.installs(1)
    ax = draw("installs", frame.assign(latency_ns=pd.array([pd.NA] * len(frame), dtype="Int64")))
    assert "no data: " in words(ax)


def test_metadata_is_drawn_in_kib() -> None:
    frame = make.metadata()
    for (x, y), column in zip(lines(draw("metadata", frame)), ("before_bytes", "after_bytes"), strict=True):
        assert np.array_equal(x, frame["ts_s"])
        assert np.allclose(y, frame[column] / 1024)

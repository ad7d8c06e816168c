"""Plots with a lane for each process."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from binder_observe.plots import style
from tests.plots import make
from tests.plots.drawn import areas, bars, draw, entries, lanes, lines

IDLE_ENDS = ["reused", "reclaimed", "released", "still_idle", "lost"]


def test_lru_bars_are_shares_and_censored_ones_are_hatched() -> None:
    frame = make.lru(6)
    ax = draw("lru", frame)
    assert entries(ax) == ["reused", "reclaimed", "released", "still idle", "lost"]
    assert np.allclose(np.sum(bars(ax), axis=0), 1)
    hatched = [bool(patches[0].get_hatch()) for patches in ax.containers]
    assert hatched == [False, False, False, True, True]
    spans = frame[IDLE_ENDS].sum(axis=1)
    first = int(spans.argmax())
    assert [widths[0] for widths in bars(ax)] == pytest.approx(list(frame[IDLE_ENDS].iloc[first] / spans.iloc[first]))
    assert ax.texts[0].get_text() == f"n = {spans.max():,}"


def test_lru_others_are_summed() -> None:
    frame = make.lru(50)
    ax = draw("lru", frame)
    spans = frame[IDLE_ENDS].sum(axis=1).sort_values(ascending=False)
    assert lanes(ax)[-1] == "39 others together"
    assert ax.texts[-1].get_text() == f"n = {spans.iloc[11:].sum():,}"


def test_senders_bars_are_page_time_by_state() -> None:
    frame = make.senders(2)
    ax = draw("senders", frame)
    for widths, patches, state in zip(bars(ax), ax.containers, ("active", "lru"), strict=True):
        assert np.allclose(widths, frame[f"{state}_ns"] / 1e9)
        assert patches[0].get_facecolor() == to_rgba(style.STATE_COLOURS[state])
    assert lanes(ax)[0] == "1001 surfaceflinger → itself"
    assert "before attach → 1000 system_server" in lanes(ax)
    assert "1001 surfaceflinger → 1000 system_server" in lanes(ax)


def test_senders_others_are_summed_unless_they_dwarf_the_largest() -> None:
    frame = make.senders(5)
    ax = draw("senders", frame)
    assert lanes(ax)[-1] == "4 others together"
    assert sum(widths[-1] for widths in bars(ax)) == pytest.approx(frame["held_ns"].iloc[11:].sum() / 1e9)
    many = draw("senders", make.senders(50))
    held_s = make.senders(50)["held_ns"].iloc[11:].sum() / 1e9
    assert entries(many)[-1] == f"139 others not shown:\n{held_s:,.0f} page-seconds"
    assert len(lanes(many)) == style.LANES - 1


def test_fragmentation_bars() -> None:
    frame = make.fragmentation(4)
    ax = draw("fragmentation", frame)
    order = frame.sort_values("high_watermark", ascending=False, kind="stable")
    for widths, column in zip(bars(ax), ("high_watermark", "touched"), strict=True):
        assert list(widths) == list(order[column])
    for (x, _), column in zip(lines(ax), ("mean_held", "held_end"), strict=True):
        assert np.allclose(x, order[column])


def test_a_mapping_from_before_attach_is_used_at_least_so_much() -> None:
    frame = make.fragmentation(2).assign(
        observed_from_birth=[True, False], high_watermark=[20, 10], use=[1.0, 0.456], hole_pages=[0, 5]
    )
    assert [text.get_text() for text in draw("fragmentation", frame).texts] == ["100 % used", "≥ 46 % used"]


def test_two_contexts_of_one_process_have_two_names() -> None:
    frame = make.lru(3).assign(pid=make.pids([7, 7, 7]), comm="x", context=["binder", "hwbinder", "binder"])
    assert sorted(lanes(draw("lru", frame))) == ["7 x #0", "7 x #2", "7 x hwbinder"]


def test_names_that_are_not_known() -> None:
    frame = make.lru(2).assign(comm=pd.Categorical([None, None]), context=pd.Categorical([None, None]))
    assert sorted(lanes(draw("lru", frame))) == ["1000", "1001"]


def test_leaks_are_arrows_that_go_on_beside_the_norm() -> None:
    frame = make.leaks(2)
    ax = draw("leaks", frame)
    ages = np.concatenate([x for x, _ in lines(ax, style.GOES_ON)])
    assert sorted(ages) == pytest.approx(sorted(frame["active_ns"] / 1e9))
    hollow = [line.get_markerfacecolor() == "none" for line in ax.lines if line.get_marker() == style.GOES_ON]
    drawn_hollow = sum(len(x) for (x, _), is_hollow in zip(lines(ax, style.GOES_ON), hollow, strict=True) if is_hollow)
    assert drawn_hollow == (~frame["start_known"]).sum()
    assert "hollow: active before it was seen" in entries(ax)
    ((norms, lane),) = lines(ax, "|")
    assert sorted(zip(lane, norms, strict=True)) == [(0, 0.040), (1, 0.049)]
    assert entries(ax)[:4] == ["2000 app0", "2001 app1", "2002 app2", "2003 app3"]


def test_too_many_leaks_are_the_oldest() -> None:
    frame = make.leaks(4, pages=1000)
    ax = draw("leaks", frame)
    ages = np.concatenate([x for x, _ in lines(ax, style.GOES_ON)])
    assert sorted(ages) == pytest.approx(sorted(frame["active_ns"] / 1e9)[-1500:])
    assert "2,500 younger pages not shown" in entries(ax)


def test_lifetimes_are_ended_above_and_censored_below() -> None:
    frame = make.lives(2)
    ax = draw("lifetimes", frame)
    known = frame["duration_ns"].notna()
    assert entries(ax)[-1] == f"{(~known).sum()} of unknown birth not shown"
    strips = areas(ax)
    assert len(strips) == 4
    for lane in (0, 1):  # both have as many lives: in the order of the frame
        (up, _, _), (down, _, _) = strips[2 * lane : 2 * lane + 2]
        censored = frame["ended"][known & (frame["alloc"] == lane)].isin(["alive", "lost"])
        assert (up <= lane).all()  # lanes count downwards
        assert (down >= lane).all()
        assert (lane - up).sum() / (down - lane).sum() == pytest.approx((~censored).sum() / censored.sum())


def test_one_life_is_a_tick() -> None:
    frame = make.lives(1).iloc[1:2]
    ((heights, edges, _),) = areas(draw("lifetimes", frame))
    (at,) = np.flatnonzero(heights)
    assert edges[at] <= float(frame["duration_ns"].iloc[0]) / 1e9 <= edges[at + 1]

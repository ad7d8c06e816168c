"""The plots of real frames: simulated recordings, and one in which nothing happened."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import pandas as pd
import pytest

from binder_observe import plots
from binder_observe.frames.fragmentation import df_fragmentation
from binder_observe.frames.installs import df_installs
from binder_observe.frames.leaks import df_leaks
from binder_observe.frames.lives import df_lifetimes, df_spans
from binder_observe.frames.lru import df_lru_efficiency
from binder_observe.frames.metadata import df_metadata
from binder_observe.frames.pagemap import page_map
from binder_observe.frames.reclaim import df_reclaim_bursts, df_reclaims
from binder_observe.frames.residency import df_residency
from binder_observe.frames.senders import df_senders
from binder_observe.frames.survival import df_survival
from binder_observe.history import History, collect
from binder_observe.sources.simulator import SimulatorSource
from tests.build import META, attach, batch, mapped
from tests.plots.drawn import PLOTS, axes, draw, svg, words

FRAMES: dict[str, Callable[[History], pd.DataFrame]] = {
    "residency": df_residency,
    "survival": lambda h: df_survival(df_lifetimes(h), by=["pid", "comm"]),
    "lru": df_lru_efficiency,
    "senders": df_senders,
    "bursts": df_reclaim_bursts,
    "reclaims": df_reclaims,
    "installs": df_installs,
    "fragmentation": df_fragmentation,
    "metadata": df_metadata,
    "leaks": df_leaks,
    "lifetimes": df_lifetimes,
}
EVERY = pytest.mark.parametrize("name", FRAMES)


@cache
def history(scenario: str, duration_s: float) -> History:
    source = SimulatorSource(scenario, duration_s=duration_s)
    return collect(source.meta, source.batches())


def quietly(name: str, frame: Any) -> str:
    """Words that it draws; a warning fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = draw(name, frame)
        svg(ax)
    return words(ax)


def test_every_frame_has_its_plot() -> None:
    assert FRAMES.keys() == PLOTS.keys()


@EVERY
def test_frames_of_the_tests_have_the_columns_of_real_ones(name: str) -> None:
    real = FRAMES[name](history("memory-pressure", 0.9))
    made = PLOTS[name][1](2)
    assert set(made.columns) <= set(real.columns)


@EVERY
@pytest.mark.parametrize(("scenario", "duration_s"), [("memory-pressure", 0.9), ("churn", 1.0)])
def test_simulated_recordings_are_drawn(name: str, scenario: str, duration_s: float) -> None:
    frame = FRAMES[name](history(scenario, duration_s))
    assert ("no data: " in quietly(name, frame)) == frame.empty


@EVERY
def test_a_mapping_without_a_page_is_drawn_or_said_to_be_empty(name: str) -> None:
    said = quietly(name, FRAMES[name](collect(META, [batch(attach(), mapped(4))])))
    assert ("no data: " in said) == (name not in ("residency", "metadata"))


@EVERY
def test_nothing_at_all_is_said_to_be_empty(name: str) -> None:
    assert "no data: " in quietly(name, FRAMES[name](collect(META, [])))


def test_page_map_and_idle_spans_are_drawn() -> None:
    h = history("memory-pressure", 0.9)
    ax = plots.plot_page_map(page_map(h, h.allocs[0].alloc), axes())
    assert "active" in words(ax)
    spans = df_spans(h)
    assert "1002 system_server" in quietly("survival", df_survival(spans[spans["state"] == "lru"], by=["pid", "comm"]))

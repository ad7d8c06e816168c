"""What every frame says of itself, and that plots take it from there."""

from __future__ import annotations

from inspect import signature

import pytest

from binder_observe import frames
from binder_observe.history import History, collect
from binder_observe.plots import plot_residency, plot_survival
from binder_observe.sources.simulator import SimulatorSource

OF_HISTORY = [
    n for n in frames.__all__ if n.startswith("df_") and next(iter(signature(getattr(frames, n)).parameters)) == "h"
]


@pytest.fixture(scope="module")
def simulated() -> History:
    source = SimulatorSource("steady", duration_s=0.1)
    return collect(source.meta, source.batches())


@pytest.mark.parametrize("name", OF_HISTORY)
def test_a_frame_says_that_its_data_is_simulated(name: str, simulated: History) -> None:
    attrs = getattr(frames, name)(simulated).attrs
    assert attrs == {"source": "simulated", "lost_events": 0, "begin_ns": simulated.begin_ns}


def test_frames_made_of_frames_and_plots_carry_it_on(simulated: History) -> None:
    lives = frames.df_lifetimes(simulated)
    within = frames.window(lives, simulated.begin_ns, simulated.end_ns)
    for frame in (frames.df_survival(lives), frames.df_quantiles(lives), frames.df_survival(within, by=["pid"])):
        assert frame.attrs["source"] == "simulated"
    assert plot_survival(frames.df_survival(lives)).get_title(loc="left").startswith("SIMULATED")
    ax = plot_residency(frames.df_residency(simulated, by="all"))
    assert ax.get_title(loc="left").startswith("SIMULATED")

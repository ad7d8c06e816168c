"""Plots: each takes the frame of the `df_*` of its topic and an optional `ax`, returns the Axes, and only draws what
is in the frame.

Without `ax` a pyplot figure is made; with it, pyplot is left alone. `frame.attrs["source"]`, where it is set and not
"live", stands in the title.
"""

from __future__ import annotations

from binder_observe.plots.fragmentation import plot_fragmentation
from binder_observe.plots.installs import plot_install_latency
from binder_observe.plots.leaks import plot_leaks
from binder_observe.plots.lives import plot_lifetimes
from binder_observe.plots.lru import plot_lru
from binder_observe.plots.metadata import plot_metadata
from binder_observe.plots.pagemap import plot_page_map
from binder_observe.plots.reclaim import plot_reclaims
from binder_observe.plots.residency import plot_residency
from binder_observe.plots.senders import plot_senders
from binder_observe.plots.survival import plot_survival

__all__ = [
    "plot_fragmentation",
    "plot_install_latency",
    "plot_leaks",
    "plot_lifetimes",
    "plot_lru",
    "plot_metadata",
    "plot_page_map",
    "plot_reclaims",
    "plot_residency",
    "plot_senders",
    "plot_survival",
]

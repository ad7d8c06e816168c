"""Frames: a whole observation (`History`) as pandas DataFrames, one topic a file.

Times are int64 ns of CLOCK_BOOTTIME. Where a value can be missing the column is nullable (Int64, UInt32, Float64) and
missing is NA. Names are categories. A history in which nothing happened gives empty frames with the same columns.
"""

from __future__ import annotations

from binder_observe.frames.fragmentation import df_fragmentation
from binder_observe.frames.installs import df_install_latency, df_installs
from binder_observe.frames.leaks import df_leaks
from binder_observe.frames.lives import df_lifetimes, df_spans, stays, window
from binder_observe.frames.lru import df_lru_efficiency, df_refaults
from binder_observe.frames.metadata import df_metadata
from binder_observe.frames.pagemap import page_map
from binder_observe.frames.processes import df_processes
from binder_observe.frames.reclaim import df_parked_under_reclaim, df_passed_over, df_reclaim_bursts, df_reclaims
from binder_observe.frames.residency import df_page_seconds, df_residency
from binder_observe.frames.senders import df_senders
from binder_observe.frames.survival import df_quantiles, df_survival

__all__ = [
    "df_fragmentation",
    "df_install_latency",
    "df_installs",
    "df_leaks",
    "df_lifetimes",
    "df_lru_efficiency",
    "df_metadata",
    "df_page_seconds",
    "df_parked_under_reclaim",
    "df_passed_over",
    "df_processes",
    "df_quantiles",
    "df_reclaim_bursts",
    "df_reclaims",
    "df_refaults",
    "df_residency",
    "df_senders",
    "df_spans",
    "df_survival",
    "page_map",
    "stays",
    "window",
]

"""Suspected leaks: pages in use for far longer than their process's pages are."""

from __future__ import annotations

import numpy as np
import pandas as pd

from binder_observe.analysis.leaks import norm_ns, suspects
from binder_observe.events import Kind
from binder_observe.frames.columns import allocs, keys, numbers, of_history, places, task
from binder_observe.history import History
from binder_observe.rows import State


@of_history
def df_leaks(h: History) -> pd.DataFrame:
    """One row a page that is suspected at the end: the rule is `binder_observe.analysis.leaks`', which says what it is
    worth. As many as the report's `leak_suspects`.

    Columns: pid, comm, context, alloc, page uint32; since_ns int64 (when it came into use), active_ns int64 (how long
    that is, to the end of the observation), start_known bool (False: it was in use before it was under observation, so
    for longer than that); norm_ns int64 (how long pages of this alloc are in use ordinarily: the p99 of its active
    spans, or the highest quantile below that is known); times float64 (active_ns / norm_ns); sender_pid UInt32,
    sender_comm category (whose transaction brought it into use, by install or reuse; NA: not seen).
    Sorted by active_ns, longest first, then alloc, page.

    A page may hold several small buffers: the sender is that of the first of them, and a later one may be the one that
    is never freed.
    """
    states = allocs(h)
    live = {p.state.alloc: norm_ns(p.active_span) for p in h.report.processes if not p.state.released}
    norms = [live.get(s.alloc) for s in states]
    spans = h.spans[(h.spans["state"] == State.ACTIVE) & (h.spans["ended"] == Kind.DETACH)]
    place = places(numbers(states), spans["alloc"])
    age_ns = spans["until_ns"] - spans["since_ns"]
    suspected = np.zeros(len(spans), dtype=np.bool_)
    for i, ordinary in enumerate(norms):
        if ordinary is None:
            continue
        of_alloc = place == i
        suspected[of_alloc] = suspects(age_ns[of_alloc], ordinary)
    spans, place, age_ns = spans[suspected], place[suspected], age_ns[suspected]
    order = np.lexsort([spans["page"], spans["alloc"], -age_ns])
    spans, place, age_ns = spans[order], place[order], age_ns[order]
    norm = np.array([0 if n is None else n for n in norms], dtype=np.int64)[place]
    return pd.DataFrame(
        {
            **keys(h, spans["alloc"]),
            "page": spans["page"],
            "since_ns": spans["since_ns"],
            "active_ns": age_ns,
            "start_known": np.isin(spans["began"], (Kind.ALLOC_PAGE_END, Kind.ALLOC_LRU_START)),
            "norm_ns": norm,
            "times": age_ns / np.maximum(norm, 1),
            **task(h, "sender", spans["starter"]),
        }
    )

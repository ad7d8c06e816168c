"""The section on how long pages live, and how long they stay in one state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import pandas as pd

from binder_observe import frames, plots
from binder_observe.history import History
from binder_observe.reports.html import cells
from binder_observe.reports.html.figures import picture
from binder_observe.reports.html.page import Cell, Figure, Section, column, table
from binder_observe.reports.html.pages import largest
from binder_observe.rows import State

CURVES: Final = 4  # processes with a survival curve of their own: more would hide each other


def lifetimes(h: History) -> Section:
    columns = [
        *cells.state_owners(h),
        column("lives", partial(_of, "n"), "lifetime"),
        column("censored", partial(_of, "censored"), "lifetime"),
        column("left-truncated", cells.count, "lives_left_truncated"),
        *(column(f"life {q}", partial(cells.quantile, q), "lifetime") for q in ("p50", "p90", "p99")),
        column("longest", partial(cells.quantile, "max"), "lifetime"),
        *(column(f"active {q}", partial(cells.quantile, q), "active_span") for q in ("p50", "p99")),
        *(column(f"idle {q}", partial(cells.quantile, q), "idle_span") for q in ("p50", "p99")),
        column("idle share", cells.share_of_idle, "state"),
    ]
    caption = "Whole lives, single stays in use and on the LRU; under each quantile its 95 % confidence interval"
    return Section(
        "lifetimes",
        "How long pages live",
        _counted(h),
        _curves(h),
        [table("lifetimes", caption, columns, h.report.processes)],
    )


def _of(name: str, quantiles: object) -> Cell:
    return cells.count(getattr(quantiles, name, 0))


def _counted(h: History) -> str:
    known = [p.lifetime for p in h.report.processes if p.lifetime]
    truncated = sum(p.lives_left_truncated for p in h.report.processes)
    return (
        f"Lives of known birth: {sum(q.n for q in known):,}, of which censored: {sum(q.censored for q in known):,}. "
        f"Left-truncated: {truncated:,}."
    )


def _curves(h: History) -> list[Figure]:
    lives = frames.df_lifetimes(h)
    of_most = lives["alloc"].isin([p.state.alloc for p in largest(h)[:CURVES]])
    wanted: list[tuple[str, str, str, Callable[[], pd.DataFrame], tuple[str, ...]]] = [
        ("life", "Whole lives", "from install until reclaim or release; all mappings together", lambda: lives, ()),
        ("active", "Stays in use", "from install or reuse until parked", lambda: frames.stays(h, State.ACTIVE), ()),
        ("idle", "Stays on the LRU", "until reused, reclaimed or released", lambda: frames.stays(h, State.LRU), ()),
    ]
    if len(h.report.processes) > 1:
        what = "of the mappings that held most page-time"
        wanted.append(("processes", "Whole lives by process", what, lambda: lives[of_most], ("pid", "comm")))
    figures = []
    for name, title, what, rows, by in wanted:
        curve = frames.df_survival(rows(), by=by)  # one after the other: each is as long as the recording
        if len(curve):
            figures.append(_curve(h, name, title, what, curve))
    return figures


def _curve(h: History, name: str, title: str, what: str, curve: pd.DataFrame) -> Figure:
    caption = f"{title}: {what}."
    return picture(h.meta.source, f"survival-{name}", caption, lambda ax: plots.plot_survival(curve, ax), title=title)

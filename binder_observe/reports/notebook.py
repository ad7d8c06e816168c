"""The report as a piece of HTML for a notebook: findings, the largest mappings, the quality line."""

from __future__ import annotations

from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from binder_observe.analysis.summary import ProcessReport, Report
from binder_observe.reports import terminal

COLUMNS: Final = (
    "pid", "comm", "context", "active", "lru", "free", "high", "installs", "reuses", "reclaims", "p50", "p99",
)  # fmt: skip
MOST_ROWS: Final = 20


def render(report: Report) -> str:
    """Without style or script of its own; everything escaped."""
    environment = Environment(
        loader=PackageLoader("binder_observe.reports"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("notebook.html.j2").render(
        title=terminal.title(report),
        quality=terminal.quality(report),
        report=report,
        columns=COLUMNS,
        rows=[_row(p) for p in report.processes[:MOST_ROWS]],
        more=sum(p.mappings for p in report.processes[MOST_ROWS:]),
    )


def _row(process: ProcessReport) -> tuple[object, ...]:
    s, life = process.state, process.lifetime
    quantiles = (life.p50, life.p99) if life else (None, None)
    return (
        process.pid, s.comm or "?", f"{s.context or '?'}{' (gone)' if s.released else ''}", s.active, s.lru, s.free,
        s.high_watermark, s.installs, s.reuses, s.reclaims, *(terminal.duration(ns) for ns in quantiles),
    )  # fmt: skip

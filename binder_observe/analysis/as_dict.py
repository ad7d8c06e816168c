"""The report as plain dictionaries, in the names and the order of the JSON report."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from binder_observe.analysis.report import ProcessReport, Report
    from binder_observe.lifetimes import Quantiles

SCHEMA: Final = 1


def as_dict(report: Report) -> dict[str, object]:
    """See `Report.to_dict`."""
    return {
        "schema": SCHEMA,
        "source": report.meta.source,
        "kernel": report.meta.kernel,
        "generation": report.meta.generation,
        "page_size": report.meta.page_size,
        "tool_version": report.meta.tool_version,
        "command": report.meta.command,
        "filters": report.meta.filters,
        "probes": report.meta.probes,
        "duration_s": report.duration_s,
        "complete": report.complete,
        "events": report.events,
        "lost_events": report.lost_events,
        "unexplained": sum(report.unexplained.values()),
        "unexplained_by_transition": report.unexplained,
        "duplicate_installs": sum(p.state.duplicate_installs for p in report.processes),
        "failed_installs": sum(p.state.failed_installs for p in report.processes),
        "audit": report.audit.to_dict(),
        "notes": list(report.notes),
        "findings": [asdict(finding) for finding in report.findings],
        "metadata_cost": report.metadata.to_dict(),
        "overall": {
            "active_page_s": report.overall.active_page_s,
            "idle_page_s": report.overall.idle_page_s,
            "lifetime_ns": _quantiles(report.overall.lifetime),
            "lifetime_ci95_ns": _intervals(report.overall.lifetime),
            "active_span_ns": _quantiles(report.overall.active_span),
            "idle_span_ns": _quantiles(report.overall.idle_span),
            "refault_delay_ns": _quantiles(report.overall.refault_delay),
            "install_latency_ns": _quantiles(report.overall.install_latency),
        },
        "reclaimers": [asdict(reclaimer) for reclaimer in report.reclaimers],
        "processes": [_process(p) for p in report.processes],
    }


def _process(process: ProcessReport) -> dict[str, object]:
    s = process.state
    return {
        "pid": None if process.folded else s.pid,
        "comm": s.comm,
        "context": s.context,
        "alloc": None if process.folded else s.alloc,
        "mappings": process.mappings,
        "mapping_pages": s.mapping_pages,
        "pages": {
            "active": s.active,
            "lru": s.lru,
            "free": s.free,
            "unknown": s.unknown,
            "high_watermark": s.high_watermark,
        },
        "touched_pages": s.touched,
        "installs": s.installs,
        "duplicate_installs": s.duplicate_installs,
        "failed_installs": s.failed_installs,
        "installs_in_flight": s.installs_in_flight,
        "reuses": s.reuses,
        "parks": s.parks,
        "teardown_parks": s.teardown_parks,
        "reclaims": s.reclaims,
        "refaults": s.refaults,
        "lru_skips": asdict(process.lru_skips) if process.lru_skips else None,
        "released": s.released,
        "observed_from_birth": s.from_birth,
        "lost_events": s.lost_events,
        "unexplained": s.unexplained,
        "lives": {**process.lives_ended, "left_truncated": process.lives_left_truncated},
        "lifetime_ns": _quantiles(process.lifetime),
        "lifetime_ci95_ns": _intervals(process.lifetime),
        "active_span_ns": _quantiles(process.active_span),
        "idle_span_ns": _quantiles(process.idle_span),
        "refault_delay_ns": _quantiles(process.refault_delay),
        "install_latency_ns": _quantiles(process.install_latency),
        "active_ns": s.active_ns,
        "lru_ns": s.lru_ns,
        "senders": [asdict(sender) for sender in process.senders],
        "busiest_sender": asdict(process.busiest) if process.busiest else None,
        "sending_processes": process.sending_processes,
        "long_idle_pages": process.long_idle_pages,
        "leak_suspects": process.leak_suspects,
        "leak_senders": [asdict(sender) for sender in process.leak_senders],
    }


def _quantiles(q: Quantiles | None) -> dict[str, int | None]:
    if q is None:
        return {"p50": None, "p90": None, "p99": None, "max": 0, "n": 0, "censored": 0}
    return {"p50": q.p50, "p90": q.p90, "p99": q.p99, "max": q.max, "n": q.n, "censored": q.censored}


def _intervals(q: Quantiles | None) -> dict[str, list[int | None] | None]:
    ci = (q.p50_ci, q.p90_ci, q.p99_ci) if q else (None, None, None)
    return {name: None if c is None else list(c) for name, c in zip(("p50", "p90", "p99"), ci, strict=True)}

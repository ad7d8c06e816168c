"""The report as one self-contained HTML file: works offline, light and dark, on a phone and on paper."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Final

from binder_observe.analysis.report import Finding
from binder_observe.history import History
from binder_observe.reports.html import events, pages
from binder_observe.reports.html.cells import figure, share
from binder_observe.reports.html.lives import lifetimes
from binder_observe.reports.html.page import render_page
from binder_observe.reports.terminal import audited, title


@dataclass(frozen=True, slots=True)
class Fact:
    """Of the quality banner; `doubt` when it limits what the numbers mean."""

    name: str
    value: str
    doubt: bool = False


def write(h: History, file: IO[str]) -> None:
    file.write(render(h))


def render(h: History) -> str:
    """The whole page."""
    report = h.report
    return render_page(
        "report.html.j2",
        title=title(report),
        simulated=report.meta.source == "simulated",
        facts=facts(h),
        notes=report.notes,
        findings=[{"severity": f.severity, "text": f.text, "numbers": _numbers(f)} for f in report.findings],
        sections=[section(h) for section in SECTIONS] if report.processes else [],
        version=report.meta.tool_version,
        command=report.meta.command,
    )


# From top to bottom.
SECTIONS: Final = (
    pages.processes,
    pages.residency,
    pages.page_maps,
    lifetimes,
    events.lru,
    events.senders,
    events.reclaim,
    events.installs,
    pages.fragmentation,
    pages.leaks,
    events.metadata,
)


def facts(h: History) -> list[Fact]:
    """What the numbers are worth."""
    report, meta = h.report, h.meta
    states = [p.state for p in report.processes]
    unexplained = sum(report.unexplained.values())
    began = [Fact("began", _date(h.begin_ns + meta.clock_offset_ns))] if meta.clock_offset_ns is not None else []
    filters = [Fact("only", "; ".join(f"{k} {', '.join(v)}" for k, v in meta.filters.items() if v))]
    return [
        Fact("source", meta.source, meta.source != "live"),
        Fact("kernel", f"{meta.kernel} (allocator {meta.generation})"),
        Fact("page size", f"{meta.page_size:,} bytes"),
        *began,
        Fact("duration", f"{report.duration_s:.3g} s"),
        *(filters if filters[0].value else []),
        Fact("mappings", f"{len(states):,}"),
        Fact("events", f"{report.events:,}"),
        Fact("lost", f"{report.lost_events:,}", report.lost_events > 0),
        Fact("unexplained", f"{unexplained:,}", unexplained > 0),
        Fact("duplicate installs", f"{sum(s.duplicate_installs for s in states):,}"),
        Fact("failed installs", f"{sum(s.failed_installs for s in states):,}"),
        Fact("ended in order", "yes" if report.complete else "no", not report.complete),
        Fact("counts", audited(report.audit), bool(report.audit.differences)),
    ]


def _date(realtime_ns: int) -> str:
    return datetime.fromtimestamp(realtime_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _numbers(finding: Finding) -> str:
    """The value and its threshold, shares as percentages."""
    show = share if finding.unit.startswith("share ") else figure
    value, threshold = show(finding.value).text, show(finding.threshold).text
    return f"{value} {finding.unit.removeprefix('share ')}, threshold {threshold}"

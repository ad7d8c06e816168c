"""The report as text: what stands out, tables of at most 80 columns, and the quality line."""

from __future__ import annotations

from dataclasses import astuple
from typing import IO, Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from binder_observe.analysis.names import printable
from binder_observe.analysis.quantities import duration as duration
from binder_observe.analysis.quantities import obstacles
from binder_observe.analysis.report import ProcessReport, Report, Severity
from binder_observe.audit import Audit, Difference
from binder_observe.tracker import LruSkips

WIDTH: Final = 80
MOST_PROCESSES: Final = 20  # of each table; the JSON report has all
MOST_SENDERS: Final = 10
MOST_RECLAIMERS: Final = 10

Processes = tuple[ProcessReport, ...]
_STYLE: Final[dict[str, Any]] = {"title_justify": "left", "box": None, "padding": (0, 1, 0, 0), "pad_edge": False}
_SEVERITY: Final[dict[Severity, str]] = {"high": "bold red", "medium": "yellow", "info": ""}


def write(report: Report, file: IO[str]) -> None:
    """To a terminal in its own width, else in 80 columns and without colour."""
    terminal = file.isatty()
    width = None if terminal else WIDTH
    console = Console(file=file, width=width, highlight=False, soft_wrap=False, force_jupyter=False)
    console.print(render(report))


def render(report: Report) -> RenderableType:
    """The whole report."""
    parts: list[RenderableType] = [Text(title(report), style="bold"), Text()]
    shown = report.processes[:MOST_PROCESSES]
    more = sum(p.mappings for p in report.processes[MOST_PROCESSES:])
    if shown:
        parts += [_findings(report), Text()]
        for table in (_pages, _installs, _lru, _stays):
            parts += [table(shown), *([Text(f"... and {more} more")] if more else []), Text()]
        for part in (_overall(report), _growth(report), _reclaimed(report)):
            parts += [part, Text()] if part and part.row_count else []
        skipped = skip_line(report)
        parts += [Text(skipped), Text()] if skipped else []
        parts += [Text(metadata_line(report)), Text()]
    else:
        parts += [Text("No binder page event was seen."), Text()]
    return Group(*parts, *_quality(report))


def _findings(report: Report) -> RenderableType:
    if not report.findings:
        return Text("Nothing stands out.")
    table = Table(title="What stands out", show_header=False, **_STYLE)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in report.findings:
        table.add_row(Text(finding.severity, style=_SEVERITY[finding.severity]), Text(finding.text))
    return table


def render_live(report: Report, height: int) -> RenderableType:
    """One table for a screen that refreshes, in at most `height` lines: the processes that hold most."""
    below = _quality(report)
    live = tuple(p for p in report.processes if not p.state.released)
    rows = max(height - 4 - 3 * len(below), 1)
    table = _table(None, "ACTIVE", "LRU", "FREE", "HIGH", "INSTALL", "REUSE", "RECLAIM")
    for p in live[:rows]:
        s = p.state
        counts = (s.active, s.lru, s.free, s.high_watermark, s.installs, s.reuses, s.reclaims)
        table.add_row(*_who(p), *map(str, counts))
    more = len(live) - rows
    hidden = [Text(f"... and {more} more")] if more > 0 else []
    return Group(Text(title(report), style="bold"), table, *hidden, Text(), *below)


def title(report: Report) -> str:
    marks = {"live": "", "simulated": "SIMULATED ", "imported": "IMPORTED "}
    return f"{marks[report.meta.source]}binder pages, {report.duration_s:.3g} s"


def _quality(report: Report) -> list[RenderableType]:
    suspicious = report.lost_events or report.unexplained or report.audit.differences
    notes = [
        Text(f"note: {note}", style="yellow") for note in (*map(_difference, report.audit.differences), *report.notes)
    ]
    return [Text(quality(report), style="yellow" if suspicious else ""), *notes]


def quality(report: Report) -> str:
    """What the numbers are worth; stands under every report."""
    s = [p.state for p in report.processes]
    return (
        f"source {report.meta.source}; kernel {report.meta.kernel} (allocator {report.meta.generation}); "
        f"events {report.events}, lost {report.lost_events}; "
        f"duplicate installs {sum(a.duplicate_installs for a in s)}, failed {sum(a.failed_installs for a in s)}; "
        f"unexplained {sum(report.unexplained.values())}; {audited(report.audit)}"
    )


def _difference(found: Difference) -> str:
    tracked, kernel = ("{}:{}:{}".format(*astuple(counts)) for counts in (found.tracked, found.kernel))
    who = f"{found.pid} {printable(found.context)}"
    return f"{who}: tracked are {tracked} active:lru:free pages, the kernel counts {kernel}"


def audited(audit: Audit) -> str:
    """What the comparison with the kernel's own counts said."""
    if not audit.checked:
        return "not checked against the kernel's counts"
    if audit.differences:
        return f"NOT EQUAL to the kernel's counts in {len(audit.differences)} mappings"
    moving = f", {audit.inconclusive} not conclusive" if audit.inconclusive else ""
    return f"equal to the kernel's counts in {audit.compared} mappings{moving}"


def metadata_line(report: Report) -> str:
    """What the patch saves, or would save, in this run."""
    before, after = report.metadata.before.mean, report.metadata.after.mean
    change = f" ({100 * (after - before) / before:+.0f}%)" if before else ""
    return (
        f"Allocator metadata, mean over time: {before / 1024:.1f} KiB in arrays (before 6.14), "
        f"{after / 1024:.1f} KiB under page->private{change}"
    )


def skip_line(report: Report) -> str | None:
    """What the shrinker could not take, and why; None where it could take all, or where nobody watched it."""
    skips = sum((p.lru_skips for p in report.processes if p.lru_skips), LruSkips())
    offered = skips.total + sum(p.state.reclaims for p in report.processes)
    return f"Skipped by the shrinker: {skips.total} times of {offered} ({obstacles(skips)})" if skips.total else None


def interval_line(report: Report) -> str:
    """One line for a log: the state of the whole observation."""
    live = [p.state for p in report.processes if not p.state.released]
    mark = "SIMULATED " if report.meta.source == "simulated" else ""
    return (
        f"{mark}{report.duration_s:8.1f} s  {len(live)} mappings  active {sum(a.active for a in live)}  "
        f"lru {sum(a.lru for a in live)}  installs {sum(p.state.installs for p in report.processes)}  "
        f"reclaims {sum(p.state.reclaims for p in report.processes)}  events {report.events}  lost {report.lost_events}"
    )


def _table(name: str | None, *columns: str) -> Table:
    table = Table(title=name, **_STYLE)
    table.add_column("PID", justify="right", no_wrap=True)
    for column in ("COMM", "CONTEXT"):
        # the columns that give way when numbers are long: rich takes from those that may wrap first
        table.add_column(column, max_width=15, overflow="ellipsis")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _who(process: ProcessReport) -> tuple[str, Text, Text]:
    s = process.state
    context = printable(s.context)
    if s.released:
        context = (context if len(context) <= 8 else context[:7] + "…") + " (gone)"
    # Text, not str: a process may be called [bold]
    return process.pid, Text(printable(s.comm), no_wrap=True), Text(context, no_wrap=True)


def _pages(processes: Processes) -> Table:
    unknown = any(p.state.unknown for p in processes)
    table = _table("Pages at the end", "ACTIVE", "LRU", "FREE", *(["UNKNOWN"] if unknown else []), "HIGH", "MAPPED")
    for p in processes:
        s = p.state
        known = [s.active, s.lru, s.free, *([s.unknown] if unknown else []), s.high_watermark, s.mapping_pages]
        table.add_row(*_who(p), *map(str, known))
    return table


def _installs(processes: Processes) -> Table:
    table = _table("Installs, and how long they took", "INSTALL", "DUP", "FAIL", "P50", "P99", "MAX")
    for p in processes:
        s, q = p.state, p.install_latency
        took = (q.p50, q.p99, q.max) if q else (None, None, None)
        counts = (s.installs, s.duplicate_installs, s.failed_installs)
        table.add_row(*_who(p), *map(str, counts), *map(duration, took))
    return table


def _lru(processes: Processes) -> Table:
    """IDLE is the share of page-time on the LRU, DELAY the median time until a reclaimed page is installed again."""
    skips = any(p.lru_skips and p.lru_skips.total for p in processes)
    table = _table("The LRU", "PARK", "REUSE", "RECLAIM", *(["SKIP"] if skips else []), "REFAULT", "DELAY", "IDLE")
    for p in processes:
        s, q = p.state, p.refault_delay
        held = s.active_ns + s.lru_ns
        idle = f"{100 * s.lru_ns / held:.0f}%" if held else "-"
        skipped = [p.lru_skips.total if p.lru_skips else 0] if skips else []
        counts = (s.parks, s.reuses, s.reclaims, *skipped, s.refaults)
        table.add_row(*_who(p), *map(str, counts), duration(q.p50 if q else None), idle)
    return table


def _stays(processes: Processes) -> Table:
    """LIFE: install to reclaim or release; USE and IDLE: one stay in use, one on the LRU."""
    columns = [f"{what}\n{p}" for what in ("LIFE", "USE", "IDLE") for p in ("P50", "P99")]
    table = _table("How long pages stay", *columns)
    for p in processes:
        measures = (p.lifetime, p.active_span, p.idle_span)
        known = [ns for q in measures for ns in ((q.p50, q.p99) if q else (None, None))]
        table.add_row(*_who(p), *map(duration, known))
    return table


def _overall(report: Report) -> Table:
    """An interval without an end has an upper bound that is not reached."""
    table = Table(title="All mappings together", **_STYLE)
    for column in ("", "P50", "95 % CI", "P90", "P99", "MAX", "N", "CENSORED"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    o = report.overall
    for name, q in (
        ("page life", o.lifetime), ("in use", o.active_span), ("idle", o.idle_span),
        ("refault delay", o.refault_delay), ("install", o.install_latency),
    ):  # fmt: skip
        if q:
            low, high = q.p50_ci or (None, None)
            ci = "-" if q.p50 is None else f"{duration(low)}..{'' if high is None else duration(high)}"
            known = (duration(q.p50), ci, duration(q.p90), duration(q.p99), duration(q.max or None))
            table.add_row(name, *known, str(q.n), str(q.censored))
    return table


def _growth(report: Report) -> Table | None:
    """PAGE-S: page-seconds of the lives that the sender installed."""
    found = sorted(((s.held_ns, p, s) for p in report.processes for s in p.senders), key=lambda row: -row[0])
    if not found:
        return None
    table = _table("Who made them grow", "SENDER", "INSTALL", "DUP", "PAGE-S")
    for held_ns, p, s in found[:MOST_SENDERS]:
        sender = Text(f"{s.pid} {printable(s.comm)}", overflow="ellipsis")
        table.add_row(*_who(p), sender, str(s.installs), str(s.duplicate_installs), f"{held_ns / 1e9:.3g}")
    return table


def _reclaimed(report: Report) -> Table | None:
    if not report.reclaimers:
        return None
    table = Table(title="Reclaimed by", **_STYLE)
    for column in ("PID", "COMM", "HOW", "PAGES"):
        table.add_column(column, justify="left" if column in ("COMM", "HOW") else "right", no_wrap=True)
    for r in report.reclaimers[:MOST_RECLAIMERS]:
        table.add_row(str(r.pid), Text(printable(r.comm)), r.how, str(r.reclaims))
    return table

"""The report as text: three tables of at most 80 columns and the quality line."""

from __future__ import annotations

from dataclasses import astuple
from typing import IO

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from binder_observe.analysis.summary import ProcessReport, Report
from binder_observe.audit import Audit, Difference

WIDTH = 80


def write(report: Report, file: IO[str]) -> None:
    """To a terminal in its own width, else in 80 columns and without colour."""
    terminal = file.isatty()
    console = Console(file=file, width=None if terminal else WIDTH, highlight=False, soft_wrap=False)
    console.print(render(report))


def render(report: Report) -> RenderableType:
    """The whole report."""
    parts: list[RenderableType] = [Text(title(report), style="bold"), Text()]
    if report.processes:
        for table in (_pages, _counts, _lifetimes):
            parts += [table(report.processes), Text()]
        parts += [Text(metadata_line(report)), Text()]
    else:
        parts += [Text("No binder page event was seen."), Text()]
    return Group(*parts, *_quality(report))


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
        f"unexplained {sum(report.unexplained.values())}; {_audited(report.audit)}"
    )


def _difference(found: Difference) -> str:
    tracked, kernel = ("{}:{}:{}".format(*astuple(counts)) for counts in (found.tracked, found.kernel))
    who = f"{found.pid} {_plain(found.context)}"
    return f"{who}: tracked are {tracked} active:lru:free pages, the kernel counts {kernel}"


def _audited(audit: Audit) -> str:
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
    table = Table(title=name, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("PID", "COMM", "CONTEXT"):
        table.add_column(column, justify="right" if column == "PID" else "left", no_wrap=True, max_width=15)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _who(process: ProcessReport) -> tuple[str, Text, Text]:
    s = process.state
    # Text, not str: a process may be called [bold]
    return str(s.pid), Text(_plain(s.comm or "?")), Text(_plain(s.context or "?") + (" (gone)" if s.released else ""))


def _plain(name: str) -> str:
    """A name as one printable word: processes choose their own, escape sequences included."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _pages(processes: tuple[ProcessReport, ...]) -> Table:
    unknown = any(p.state.unknown for p in processes)
    table = _table("Pages at the end", "ACTIVE", "LRU", "FREE", *(["UNKNOWN"] if unknown else []), "HIGH", "MAPPED")
    for p in processes:
        s = p.state
        known = [s.active, s.lru, s.free, *([s.unknown] if unknown else []), s.high_watermark, s.mapping_pages]
        table.add_row(*_who(p), *map(str, known))
    return table


def _counts(processes: tuple[ProcessReport, ...]) -> Table:
    table = _table("What happened", "INSTALL", "DUP", "FAIL", "PARK", "REUSE", "RECLAIM")
    for p in processes:
        s = p.state
        counts = (s.installs, s.duplicate_installs, s.failed_installs, s.parks, s.reuses, s.reclaims)
        table.add_row(*_who(p), *map(str, counts))
    return table


def _lifetimes(processes: tuple[ProcessReport, ...]) -> Table:
    table = _table("Page lifetimes", "P50", "P90", "P99", "MAX", "ACTIVE", "LRU")
    for p in processes:
        q = p.lifetime
        known = (q.p50, q.p90, q.p99, q.max or None) if q else (None, None, None, None)
        held = p.state.active_ns + p.state.lru_ns
        shares = [f"{100 * ns / held:.0f}%" if held else "-" for ns in (p.state.active_ns, p.state.lru_ns)]
        table.add_row(*_who(p), *(duration(ns) for ns in known), *shares)
    return table


def duration(ns: int | None) -> str:
    """Three digits and a unit; `-` where there is none, because too many lives go on."""
    if ns is None:
        return "-"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            value = ns / size
            return f"{value:.0f}{unit}" if value >= 99.95 else f"{value:.3g}{unit}"
    return f"{ns}ns"

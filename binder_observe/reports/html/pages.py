"""Sections on pages: processes, residency, page maps, fragmentation, suspected leaks."""

from __future__ import annotations

from functools import partial
from typing import Final

from binder_observe import frames, plots
from binder_observe.analysis.names import printable
from binder_observe.analysis.report import ProcessReport
from binder_observe.history import History
from binder_observe.reports.html import cells
from binder_observe.reports.html.figures import picture
from binder_observe.reports.html.page import Cell, Section, column, table

MAPS: Final = 6
CELLS: Final = 2000  # in the time of a picture: more than it has pixels from left to right

COUNTS: Final = {
    "high": "high_watermark",
    "mapped": "mapping_pages",
    "touched": "touched",
    "installs": "installs",
    "dup": "duplicate_installs",
    "fail": "failed_installs",
    "parks": "parks",
    "reuses": "reuses",
    "reclaims": "reclaims",
    "refaults": "refaults",
}


def processes(h: History) -> Section:
    rows = h.report.processes
    states = ["active", "lru", "free", *(["unknown"] if any(p.state.unknown for p in rows) else [])]
    skips = any(p.lru_skips and p.lru_skips.total for p in rows)
    columns = [
        *cells.state_owners(h),
        *(column(name, cells.count, f"state.{name}") for name in states),
        *(column(label, cells.count, f"state.{name}") for label, name in COUNTS.items()),
        *([column("skips", cells.count, "state.lru_skips.total")] if skips else []),
        *(column(f"life {q}", partial(_short, q), "lifetime") for q in ("p50", "p90", "p99")),
    ]
    return Section(
        "processes", "Processes", tables=[table("processes", "Pages and what happened to them", columns, rows)]
    )


def _short(name: str, quantiles: object) -> Cell:
    return cells.time(getattr(quantiles, name, None))


def largest(h: History) -> list[ProcessReport]:
    """Most page-time first: pages at the end say little of a process that is gone."""
    each = (p for p in h.report.processes if not p.folded)
    return sorted(each, key=lambda p: (-(p.state.active_ns + p.state.lru_ns), p.state.alloc))


def residency(h: History) -> Section:
    overall = h.report.overall
    together = frames.df_residency(h, by="all", cells=CELLS)
    if not together[["active", "lru", "unknown"]].to_numpy().any():
        return Section("residency", "Residency over time", "No page was held.")
    figures = [
        picture(
            h.meta.source,
            "residency",
            "Pages held by all mappings together, by state.",
            lambda ax: plots.plot_residency(together, ax, origin_ns=h.begin_ns),
        )
    ]
    if len(h.report.processes) > 1:
        each = frames.df_residency(h, by="alloc", cells=CELLS)
        figures.append(
            picture(
                h.meta.source,
                "residency-processes",
                "Pages held (active and lru) by the mappings that held most.",
                lambda ax: plots.plot_residency(each, ax, origin_ns=h.begin_ns),
            )
        )
    text = (
        f"All mappings together: {cells.number(overall.active_page_s)} page-seconds active, "
        f"{cells.number(overall.idle_page_s)} page-seconds idle on the LRU."
    )
    return Section("residency", "Residency over time", text, figures)


def page_maps(h: History) -> Section:
    held = [p for p in largest(h) if p.state.active_ns + p.state.lru_ns]
    several = cells.repeated(h)
    figures = []
    for p in held[:MAPS]:
        states = frames.page_map(h, p.state.alloc)
        title = _name(p, several)
        figures.append(
            picture(
                h.meta.source,
                f"map-{p.state.alloc}",
                f"{title}: {p.state.touched:,} of {p.state.mapping_pages:,} pages touched.",
                partial(_page_map, states, h.begin_ns),
                title=title,
            )
        )
    text = "" if held else "No page was held."
    if len(held) > len(figures):
        text = f"More mappings that held pages, not shown: {len(held) - len(figures):,}."
    return Section("maps", "Page maps", text, figures)


def _page_map(states: object, origin_ns: int, ax: object) -> None:
    plots.plot_page_map(states, ax, origin_ns=origin_ns)  # type: ignore[arg-type]


def _name(p: ProcessReport, several: frozenset[int]) -> str:
    return f"{printable(p.state.comm)} ({', '.join([f'pid {p.state.pid}', *cells.details(p.state, several)])})"


def fragmentation(h: History) -> Section:
    frame = frames.df_fragmentation(h)
    columns = [
        *cells.owners(h),
        column("mapped", cells.count, "mapping_pages"),
        column("high", cells.count, "high_watermark"),
        column("touched", cells.count, "touched"),
        column("holes", cells.count, "hole_pages"),
        column("touched / high", cells.share, "use"),
        column("mean held", cells.figure, "mean_held"),
        column("held at the end", cells.count, "held_end"),
    ]
    return Section(
        "fragmentation",
        "Fragmentation",
        figures=[
            picture(
                h.meta.source,
                "fragmentation",
                "Touched pages against the high watermark.",
                lambda ax: plots.plot_fragmentation(frame, ax),
                wide=True,
            )
        ],
        tables=[table("fragmentation", "Pages used of those mapped", columns, frame)],
    )


def leaks(h: History) -> Section:
    frame = frames.df_leaks(h)
    if frame.empty:
        return Section("leaks", "Suspected leaks", "No page was in use for far longer than is the norm of its process.")
    columns = [
        *cells.owners(h),
        column("page", cells.count, "page"),
        column("in use for", cells.time, "active_ns"),
        column("norm", cells.time, "norm_ns"),
        column("times the norm", cells.figure, "times"),
        column("Brought into use by", cells.comm, "sender_comm", number=False),
        column("its PID", cells.pid, "sender_pid"),
    ]
    return Section(
        "leaks",
        "Suspected leaks",
        f"Suspected pages: {len(frame):,}.",
        [
            picture(
                h.meta.source,
                "leaks",
                "How long suspected pages have been in use; they still are.",
                lambda ax: plots.plot_leaks(frame, ax),
                wide=True,
            )
        ],
        [table("leaks", "Suspected pages", columns, frame)],
    )

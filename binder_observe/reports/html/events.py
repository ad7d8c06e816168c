"""Sections on what happened to pages: the LRU, who caused growth, reclaim, install latency, metadata."""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.axes import Axes

from binder_observe import frames, plots
from binder_observe.history import History
from binder_observe.reports.html import cells
from binder_observe.reports.html.figures import picture
from binder_observe.reports.html.page import Cell, Section, Table, column, table
from binder_observe.reports.terminal import metadata_line

SKIPS: Final = {
    "alloc lock": "skipped_alloc_lock",
    "mmap lock": "skipped_mmap_lock",
    "owner gone": "skipped_mm_gone",
    "other": "skipped_other",
}


def lru(h: History) -> Section:
    frame = frames.df_lru_efficiency(h)
    stays = frame[["reused", "reclaimed", "released", "still_idle", "lost"]].sum(axis=1)
    frame = frame[stays > 0].sort_values("idle_page_s", ascending=False, kind="stable")
    if frame.empty:
        return Section("lru", "LRU efficiency", "No page lay on the LRU.")
    columns = [
        *cells.owners(h),
        column("parks", cells.count, "parks"),
        column("reused", cells.count, "reused"),
        column("reclaimed", cells.count, "reclaimed"),
        column("released", cells.count, "released"),
        column("still idle", cells.count, "still_idle"),
        *([column("lost", cells.count, "lost")] if frame["lost"].any() else []),
        *(column(f"skipped: {label}", cells.count, name) for label, name in SKIPS.items() if frame[name].any()),
        *([column("skip share", cells.share, "skip_share")] if (frame["skip_share"] > 0).any() else []),
        column("reuse share", cells.share, "reuse_share"),
        column("refaults", cells.count, "refaults"),
        column("refault share", cells.share, "refault_share"),
        column("refault p50", cells.time, "refault_delay_p50_ns"),
        column("p90", cells.time, "refault_delay_p90_ns"),
        column("idle page-s", cells.figure, "idle_page_s"),
    ]
    shown = picture(
        h.meta.source, "lru", "How stays on the LRU ended.", lambda ax: plots.plot_lru(frame, ax), wide=True
    )
    tables = [table("lru", "What became of parked pages", columns, frame)]
    return Section("lru", "LRU efficiency", figures=[shown], tables=tables)


def senders(h: History) -> Section:
    frame = frames.df_senders(h)
    if frame.empty:
        return Section("senders", "Who caused the growth", "No page was installed.")
    several = cells.repeated(h)
    columns = [
        column("Sender", cells.sender, number=False),
        column("its PID", cells.pid, "sender_pid"),
        column("In the mapping of", lambda row: cells.owner(row, several), number=False),
        column("PID", cells.pid, "pid"),
        column("installs", cells.count, "installs"),
        column("share", cells.share, "share_of_installs"),
        column("dup", cells.count, "duplicates"),
        column("fail", cells.count, "failed"),
        column("held page-s", cells.page_seconds, "held_ns"),
        column("active page-s", cells.page_seconds, "active_ns"),
        column("idle page-s", cells.page_seconds, "lru_ns"),
    ]
    shown = picture(
        h.meta.source,
        "senders",
        "Page-time by sender and owner.",
        lambda ax: plots.plot_senders(frame, ax),
        wide=True,
    )
    tables = [table("senders", "Senders, by the page-time that they cause", columns, frame)]
    return Section("senders", "Who caused the growth", figures=[shown], tables=tables)


def reclaim(h: History) -> Section:
    reclaims = frames.df_reclaims(h)
    if reclaims.empty:
        return Section("reclaim", "Reclaim", "No page was reclaimed.")
    bursts = frames.df_reclaim_bursts(h)

    def draw(ax: Axes) -> None:
        plots.plot_reclaims(bursts, ax, origin_ns=h.begin_ns)
        ax.set_xlim(right=(h.end_ns - h.begin_ns) / 1e9)  # when there was none matters, too

    shown = picture(h.meta.source, "reclaims", "Bursts of reclaim: pages that the shrinker took.", draw, wide=True)
    return Section(
        "reclaim",
        "Reclaim",
        f"Pages taken: {len(reclaims):,}. Bursts: {len(bursts):,}.",
        figures=[shown],
        tables=[_by_whom(reclaims), _bursts(h, bursts), _passed_over(h)],
    )


def _by_whom(reclaims: pd.DataFrame) -> Table:
    groups = reclaims.groupby(["reclaimer_pid", "reclaimer_comm", "how"], dropna=False, observed=True, sort=False)
    frame = groups.size().to_frame("reclaims")
    for name, q in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9)):
        frame[name] = groups["idle_ns"].quantile(q)
    frame = frame.reset_index().sort_values("reclaims", ascending=False, kind="stable")
    columns = [
        column("Reclaimer", cells.comm, "reclaimer_comm", number=False),
        column("PID", cells.pid, "reclaimer_pid"),
        column("how", cells.comm, "how", number=False),
        column("pages", cells.count, "reclaims"),
        column("idle before: p10", cells.time, "p10"),
        column("p50", cells.time, "p50"),
        column("p90", cells.time, "p90"),
    ]
    return table("reclaimers", "By whom, and how long the pages had been idle", columns, frame)


def _bursts(h: History, bursts: pd.DataFrame) -> Table:
    frame = bursts.sort_values("pages", ascending=False, kind="stable")
    frame = frame.assign(at_s=(frame["begin_ns"] - h.begin_ns) / 1e9, took_ns=frame["end_ns"] - frame["begin_ns"])
    columns = [
        column("at (s)", cells.figure, "at_s"),
        column("took", cells.time, "took_ns"),
        column("pages", cells.count, "pages"),
        column("mappings", cells.count, "mappings"),
        column("reclaimers", cells.count, "reclaimers"),
        column("how", cells.comm, "how", number=False),
    ]
    return table("bursts", "Bursts", columns, frame)


def _passed_over(h: History) -> Table:
    frame = frames.df_parked_under_reclaim(h)
    frame = frame[frame["parked_pages"] > 0].sort_values("parked_pages", ascending=False, kind="stable")
    columns = [
        *cells.owners(h),
        column("pages", cells.count, "parked_pages"),
        column("still parked", cells.count, "still_parked"),
        column("bursts survived", cells.count, "bursts_survived"),
        column("longest idle", cells.time, "longest_idle_ns"),
    ]
    return table(
        "passed-over",
        "Pages that stayed parked while the shrinker took younger ones",
        columns,
        frame,
        empty="No page stayed parked while the shrinker took a younger one.",
    )


def installs(h: History) -> Section:
    frame = frames.df_installs(h)
    if frame.empty:
        return Section("installs", "Install latency", "No page was installed.")
    by = frames.df_install_latency(h, by=("pid", "comm")).sort_values("n", ascending=False, kind="stable")
    columns = [
        column("Process", cells.comm, "comm", number=False),
        column("PID", cells.pid, "pid"),
        column("during reclaim", lambda during: Cell("yes" if during else "no"), "during_reclaim", number=False),
        column("attempts", cells.count, "n"),
        column("dup", cells.count, "duplicates"),
        column("fail", cells.count, "failed"),
        column("p50", cells.time, "p50_ns"),
        column("p99", cells.time, "p99_ns"),
        column("max", cells.time, "max_ns"),
    ]
    shown = picture(
        h.meta.source,
        "installs",
        "Latency of installs, during reclaim and otherwise.",
        lambda ax: plots.plot_install_latency(frame, ax),
    )
    tables = [table("installs", "Attempts to install a page, by the owner of the mapping", columns, by)]
    return Section("installs", "Install latency", figures=[shown], tables=tables)


def metadata(h: History) -> Section:
    frame = frames.df_metadata(h)
    shown = picture(
        h.meta.source,
        "metadata",
        "Allocator metadata of all mappings, in either layout.",
        lambda ax: plots.plot_metadata(frame, ax),
    )
    text = f"{metadata_line(h.report)}."
    return Section("metadata", "Metadata before and after the patch", text, [shown] if len(frame) else [])

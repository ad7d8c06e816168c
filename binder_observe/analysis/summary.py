"""The page-lifetime report: one row an alloc, and the quality of what it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from binder_observe.analysis.findings import findings
from binder_observe.analysis.metadata import metadata_cost
from binder_observe.analysis.processes import process_reports, unknown_before
from binder_observe.analysis.report import (
    Finding,
    Folded,
    Overall,
    ProcessReport,
    Reclaimer,
    Report,
    Sender,
)
from binder_observe.lifetimes.counts import Measure
from binder_observe.lifetimes.reclaims import ReclaimTotal
from binder_observe.observation import Observation

__all__ = ["Finding", "Overall", "ProcessReport", "Reclaimer", "Report", "Sender", "summarize"]


def summarize(observation: Observation, notes: tuple[str, ...] = ()) -> Report:
    """The report as of the last event; live mappings come first, then those that hold most pages, then by pid."""
    tracker, released = observation.tracker, observation.released()
    spans = tracker.open_spans(untouched=False)  # of the others nothing is told here
    counts = observation.counts(spans)
    live = process_reports(tracker.allocs(), counts, tracker.comms, spans, skips=observation.meta.observes_skips)
    processes = [*live, *released.reports(tracker.comms)]
    processes.sort(key=lambda p: (*p.state.held_order, p.state.comm or "", p.state.context or ""))
    begin = tracker.attach_ns if tracker.attach_ns is not None else tracker.end_ns
    over_all = released.overall(counts)
    report = Report(
        meta=observation.meta,
        duration_s=max(tracker.end_ns - begin, 0) / 1e9,
        complete=tracker.detach_ns is not None,
        events=tracker.events,
        lost_events=tracker.lost_events,
        unexplained=tracker.unexplained(),
        processes=tuple(processes),
        metadata=metadata_cost(
            observation.course(),
            observation.meta.struct_bytes,
            sum(p.state.mapped_ns for p in processes if not p.folded) + released.folded.mapped_ns,
            sum(p.state.active_ns + p.state.lru_ns for p in processes),
            tracker.end_ns - begin,
        ),
        notes=(*notes, *observation.meta.notes, *_notes(processes, released.folded, tracker.lost_events)),
        audit=observation.audit,
        overall=Overall(
            lifetime=over_all.get(Measure.LIFETIME),
            active_span=over_all.get(Measure.ACTIVE_SPAN),
            idle_span=over_all.get(Measure.IDLE_SPAN),
            refault_delay=over_all.get(Measure.REFAULT_DELAY),
            install_latency=over_all.get(Measure.INSTALL_LATENCY),
            active_page_s=sum(p.state.active_ns for p in processes) / 1e9,
            idle_page_s=sum(p.state.lru_ns for p in processes) / 1e9,
        ),
        reclaimers=_reclaimers(observation.reclaims(), tracker.comms),
        folded=released.folded,
    )
    return replace(report, findings=findings(report))


def _reclaimers(totals: Iterable[ReclaimTotal], comms: Mapping[int, str]) -> tuple[Reclaimer, ...]:
    found = []
    for t in totals:
        comm = comms.get(t.tgid)
        if comm is not None and comm.startswith("kswapd"):
            found.append(Reclaimer(t.tgid, comm, "kswapd", t.reclaims))
            continue
        if t.direct:
            found.append(Reclaimer(t.tgid, comm, "direct", t.direct))
        if t.reclaims > t.direct:
            found.append(Reclaimer(t.tgid, comm, "other", t.reclaims - t.direct))
    return tuple(sorted(found, key=lambda r: (-r.reclaims, r.pid, r.how)))


def _notes(processes: list[ProcessReport], folded: Folded, lost_events: int) -> list[str]:
    notes = []
    unknown = sum(p.state.unknown for p in processes if not p.state.released)
    if lost_events:
        notes.append(
            f"{lost_events} events were lost: counts are at least what is shown, and lives that span a gap "
            f"are not counted as known; where the ring was full, a larger --buffer-size loses less"
        )
    before = unknown_before(p for p in processes if not p.folded) + folded.unknown_before
    if before:
        notes.append(f"pages from before attach unknown: {before}")
    elif unknown and lost_events:
        notes.append(f"pages unknown since a gap: {unknown}")
    in_flight = sum(p.state.installs_in_flight for p in processes)
    if in_flight:
        notes.append(f"{in_flight} installs had begun and not ended when the observation did")
    return notes

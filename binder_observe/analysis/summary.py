"""The page-lifetime report: one row an alloc, and the quality of what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np

from binder_observe.analysis import leaks
from binder_observe.analysis.findings import findings
from binder_observe.analysis.metadata import metadata_cost
from binder_observe.analysis.report import (
    LONG_IDLE_NS,
    Finding,
    LeakSender,
    Overall,
    ProcessReport,
    Reclaimer,
    Report,
    Sender,
)
from binder_observe.audit import UNCHECKED, Audit
from binder_observe.lifetimes.reclaims import ReclaimTotal
from binder_observe.lifetimes.totals import Measure, SenderTotal
from binder_observe.observation import Observation
from binder_observe.rows import Began, Ended, State
from binder_observe.tracker import PageTracker

__all__ = ["Finding", "Overall", "ProcessReport", "Reclaimer", "Report", "Sender", "summarize"]

MOST_SENDERS: Final = 5


def summarize(observation: Observation, notes: tuple[str, ...] = (), audit: Audit = UNCHECKED) -> Report:
    """The report as of the last event; processes sorted by pages held, then pid."""
    tracker = observation.tracker
    totals = observation.totals()
    quantiles, senders = totals.quantiles(), totals.senders()
    norms = {alloc: leaks.norm_ns(q.get(Measure.ACTIVE_SPAN)) for alloc, q in quantiles.items()}
    suspects, idle = _long_stays(tracker, norms)
    processes = []
    for state in tracker.allocs():
        ends = totals.ends(state.alloc)
        q = quantiles.get(state.alloc, {})
        # pages from before attach or a gap have no sender
        sent = [_sender(t, tracker.comms) for t in senders.get(state.alloc, []) if t.tgid]
        processes.append(
            ProcessReport(
                state=state,
                lives_ended={e.name.lower(): int(ends[:, e].sum()) for e in Ended},
                lives_left_truncated=int(ends[Began.BEFORE_ATTACH :].sum()),
                lifetime=q.get(Measure.LIFETIME),
                active_span=q.get(Measure.ACTIVE_SPAN),
                idle_span=q.get(Measure.IDLE_SPAN),
                refault_delay=q.get(Measure.REFAULT_DELAY),
                install_latency=q.get(Measure.INSTALL_LATENCY),
                lru_skips=state.lru_skips if observation.meta.observes_skips else None,
                senders=tuple([s for s in sent if s.held_ns or s.installs or s.duplicate_installs][:MOST_SENDERS]),
                busiest=max((s for s in sent if s.used_ns), key=lambda s: s.used_ns, default=None),
                sending_processes=len(sent),
                long_idle_pages=idle.get(state.alloc, 0),
                leak_suspects=sum(suspects[state.alloc].values()) if state.alloc in suspects else 0,
                leak_senders=_leak_senders(suspects.get(state.alloc, Counter()), tracker.comms),
            )
        )
    processes.sort(key=lambda p: (p.state.released, -(p.state.active + p.state.lru), p.state.pid, p.state.alloc))
    begin = tracker.attach_ns if tracker.attach_ns is not None else tracker.end_ns
    over_all = totals.overall()
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
            sum(p.state.mapping_pages * (p.state.until_ns - p.state.first_ns) for p in processes),
            sum(p.state.active_ns + p.state.lru_ns for p in processes),
            tracker.end_ns - begin,
        ),
        notes=(*notes, *observation.meta.notes, *_notes(processes, tracker.lost_events)),
        audit=audit,
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
    )
    return replace(report, findings=findings(report))


def _long_stays(tracker: PageTracker, norms: Mapping[int, int | None]) -> tuple[dict[int, Counter[int]], Counter[int]]:
    """Pages at the end by alloc: those that `leaks` suspects, by who took them into use (0: unknown), and those that
    have been idle for long."""
    spans = tracker.open_spans()
    ages = spans["until_ns"] - spans["since_ns"]
    idle = spans["alloc"][(spans["state"] == State.LRU) & (ages > LONG_IDLE_NS)]
    active = spans["state"] == State.ACTIVE
    alloc, starter, ages = spans["alloc"][active], spans["starter"][active], ages[active]
    suspects: dict[int, Counter[int]] = {}
    # the spans of an alloc stand together
    for begin, end in pairwise([*np.flatnonzero(np.diff(alloc.astype(np.int64), prepend=-1)).tolist(), len(alloc)]):
        number = int(alloc[begin])
        suspected = leaks.suspects(ages[begin:end], norms.get(number))
        if suspected.any():
            suspects[number] = Counter(starter[begin:end][suspected].tolist())
    return suspects, Counter(idle.tolist())


def _sender(total: SenderTotal, comms: Mapping[int, str]) -> Sender:
    t = total
    return Sender(t.tgid, comms.get(t.tgid), t.installs, t.duplicates, t.held_ns, t.used_ns)


def _leak_senders(pages: Counter[int], comms: Mapping[int, str]) -> tuple[LeakSender, ...]:
    known = sorted(((n, tgid) for tgid, n in pages.items() if tgid), key=lambda found: (-found[0], found[1]))
    return tuple(LeakSender(tgid, comms.get(tgid), n) for n, tgid in known[:MOST_SENDERS])


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


def _notes(processes: list[ProcessReport], lost_events: int) -> list[str]:
    notes = []
    unknown = sum(p.state.unknown for p in processes if not p.state.released)
    if lost_events:
        notes.append(
            f"{lost_events} events were lost: counts are at least what is shown, and lives that span a gap "
            f"are not counted as known; a larger --buffer-size loses less"
        )
    before = sum(p.state.unknown for p in processes if not p.state.from_birth and not p.state.lost_events)
    if before:
        notes.append(f"pages from before attach unknown: {before}")
    elif unknown and lost_events:
        notes.append(f"pages unknown since a gap: {unknown}")
    in_flight = sum(p.state.installs_in_flight for p in processes)
    if in_flight:
        notes.append(f"{in_flight} installs had begun and not ended when the observation did")
    return notes

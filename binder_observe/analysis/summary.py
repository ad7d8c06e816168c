"""The page-lifetime report: one row an alloc, and the quality of what it says."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from binder_observe.analysis.metadata import MetadataCost, metadata_cost
from binder_observe.audit import UNCHECKED, Audit
from binder_observe.lifetimes import Quantiles
from binder_observe.observation import Observation
from binder_observe.rows import Began, Ended
from binder_observe.sources import Meta
from binder_observe.tracker import AllocState

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """One binder_alloc: a process has one for each context that it opened.

    `lives` counts the lives under observation by how they ended and how they began; `lifetime` is None when no life
    with a known birth was seen.
    """

    state: AllocState
    lives_ended: dict[str, int]
    lives_left_truncated: int
    lifetime: Quantiles | None


@dataclass(frozen=True, slots=True)
class Report:
    """What every writer writes. `notes` are sentences that limit what the numbers mean."""

    meta: Meta
    duration_s: float
    complete: bool  # the observation ended in order
    events: int
    lost_events: int
    unexplained: dict[str, int]
    processes: tuple[ProcessReport, ...]
    metadata: MetadataCost
    notes: tuple[str, ...]
    audit: Audit = UNCHECKED

    def to_dict(self) -> dict[str, object]:
        """The JSON report, as docs/report.md and reports/report.schema.json describe it."""
        return {
            "schema": SCHEMA,
            "source": self.meta.source,
            "kernel": self.meta.kernel,
            "generation": self.meta.generation,
            "page_size": self.meta.page_size,
            "tool_version": self.meta.tool_version,
            "command": self.meta.command,
            "filters": self.meta.filters,
            "probes": self.meta.probes,
            "duration_s": self.duration_s,
            "complete": self.complete,
            "events": self.events,
            "lost_events": self.lost_events,
            "unexplained": sum(self.unexplained.values()),
            "unexplained_by_transition": self.unexplained,
            "duplicate_installs": sum(p.state.duplicate_installs for p in self.processes),
            "failed_installs": sum(p.state.failed_installs for p in self.processes),
            "audit": self.audit.to_dict(),
            "notes": list(self.notes),
            "metadata_cost": self.metadata.to_dict(),
            "processes": [_process(p) for p in self.processes],
        }


def summarize(observation: Observation, notes: tuple[str, ...] = (), audit: Audit = UNCHECKED) -> Report:
    """The report as of the last event; processes sorted by pages held, then pid."""
    tracker = observation.tracker
    summary = observation.lifetimes()
    quantiles = summary.quantiles()
    processes = []
    for state in tracker.allocs():
        lives = summary.counts(state.alloc)
        processes.append(
            ProcessReport(
                state=state,
                lives_ended={e.name.lower(): int(lives[:, e].sum()) for e in Ended},
                lives_left_truncated=int(lives[Began.BEFORE_ATTACH :].sum()),
                lifetime=quantiles.get(state.alloc),
            )
        )
    processes.sort(key=lambda p: (p.state.released, -(p.state.active + p.state.lru), p.state.pid, p.state.alloc))
    begin = tracker.attach_ns if tracker.attach_ns is not None else tracker.end_ns
    return Report(
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
    )


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


def _process(process: ProcessReport) -> dict[str, object]:
    s = process.state
    q = process.lifetime
    return {
        "pid": s.pid,
        "comm": s.comm,
        "context": s.context,
        "alloc": s.alloc,
        "mapping_pages": s.mapping_pages,
        "pages": {
            "active": s.active,
            "lru": s.lru,
            "free": s.free,
            "unknown": s.unknown,
            "high_watermark": s.high_watermark,
        },
        "installs": s.installs,
        "duplicate_installs": s.duplicate_installs,
        "failed_installs": s.failed_installs,
        "installs_in_flight": s.installs_in_flight,
        "reuses": s.reuses,
        "parks": s.parks,
        "teardown_parks": s.teardown_parks,
        "reclaims": s.reclaims,
        "released": s.released,
        "observed_from_birth": s.from_birth,
        "lost_events": s.lost_events,
        "unexplained": s.unexplained,
        "lives": {**process.lives_ended, "left_truncated": process.lives_left_truncated},
        "lifetime_ns": asdict(q) if q else {"p50": None, "p90": None, "p99": None, "max": 0},
        "active_ns": s.active_ns,
        "lru_ns": s.lru_ns,
    }

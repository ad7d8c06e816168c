"""What stands out: a short list in plain words, each with its number and its threshold; nothing when nothing does.

`RULES` is the table of what is looked for. A share needs some number of cases behind it, so that a handful of installs
never makes a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from binder_observe.analysis.names import printable
from binder_observe.analysis.quantities import duration, obstacles
from binder_observe.analysis.report import (
    LONG_IDLE_NS,
    Candidate,
    Finding,
    LeakSender,
    Passed,
    ProcessReport,
    Reclaimer,
    Report,
    Sender,
    Severity,
)
from binder_observe.tracker import AllocState

MOST_A_RULE: Final = 3  # mappings named for the same reason; the others are counted
_ORDER: Final[dict[Severity, int]] = {"high": 0, "medium": 1, "info": 2}

# libbinder starts fifteen threads for a process (DEFAULT_MAX_BINDER_THREADS, ProcessState.cpp).
LIBBINDER_THREADS: Final = 15
# A small request lies on one page, so this many pages in use on average are half of those threads at work all the time.
BUSY_PAGES: Final = 8
# Smaller mappings are full at once; libbinder's have 62 pages at least.
SMALL_MAPPING_PAGES: Final = 16
# A mapping that is gone within a second served a command, not a service.
SHORT_MAPPING_NS: Final = 1_000_000_000

Processes = Iterable[ProcessReport]


@dataclass(frozen=True, slots=True)
class Rule:
    """A finding is made of each candidate that reaches the threshold.

    A rule has one of `mapping`, which looks at each mapping on its own, and `whole`, which looks at the whole report.
    """

    name: str
    severity: Severity
    threshold: float
    unit: str
    mapping: Callable[[Processes], Iterator[Candidate]] | None = None
    whole: Callable[[Report], Iterator[Candidate]] | None = None


def findings(report: Report) -> tuple[Finding, ...]:
    """What stands out in the report, the most severe first, the largest first within a rule."""
    found: list[Finding] = []
    for rule in RULES:
        passed = _passed(rule, report)
        more = passed.n - MOST_A_RULE
        for place, (value, text, process) in enumerate(passed.most, 1):
            others = f" ({more} more mappings like it)" if more > 0 and place == MOST_A_RULE else ""
            pid, alloc = (process.state.pid, process.state.alloc) if process else (None, None)
            found.append(Finding(rule.name, rule.severity, text + others, value, rule.threshold, rule.unit, pid, alloc))
    return tuple(sorted(found, key=lambda finding: _ORDER[finding.severity]))


def _passed(rule: Rule, report: Report) -> Passed:
    if rule.whole:
        found = [c for c in rule.whole(report) if c[0] >= rule.threshold]
        return Passed(len(found), largest(found))
    earlier = report.folded.passed.get(rule.name, Passed())
    found = passing(rule, (p for p in report.processes if not p.folded))
    return Passed(earlier.n + len(found), largest([*found, *earlier.most]))


def passing(rule: Rule, processes: Processes) -> list[Candidate]:
    """The mappings of which the rule has something to say."""
    return [c for c in rule.mapping(processes) if c[0] >= rule.threshold] if rule.mapping else []


def largest(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    """As many as a finding names."""

    def order(candidate: Candidate) -> tuple[float, object]:
        value, _, process = candidate
        return -value, process.state.held_order if process else ()

    return tuple(sorted(candidates, key=order)[:MOST_A_RULE])


def short_lived(processes: Processes) -> list[AllocState]:
    """Mappings that were made and gone within SHORT_MAPPING_NS."""
    return [
        p.state for p in processes
        if p.state.released and p.state.from_birth and p.state.until_ns - p.state.first_ns < SHORT_MAPPING_NS
    ]  # fmt: skip


def _who(process: ProcessReport) -> str:
    s = process.state
    return f"pid {s.pid} {printable(s.comm)} ({printable(s.context)})"


def _task(task: Sender | Reclaimer | LeakSender) -> str:
    return f"pid {task.pid} {printable(task.comm)}"


def _busiest_share(process: ProcessReport) -> float:
    """Of the page-time in use, that of the sender that keeps most."""
    return process.busiest.used_ns / max(process.state.active_ns, 1) if process.busiest else 0.0


def _percent(share: float) -> str:
    """Two digits or so, and never 0 % or 100 % of what is not."""
    if 0.995 <= share < 1:
        return "over 99 %"
    digits = next((d for d in (0, 1, 2) if round(100 * share, d) or not share), 3)
    return f"{100 * share:.{digits}f} %"


def _size(pages: float, report: Report) -> str:
    return f"{pages * report.meta.page_size / 1024:,.0f} KiB"


def _mean_pages(page_ns: int, process: ProcessReport) -> float:
    """Pages on average over the time that the mapping was observed."""
    return page_ns / max(process.state.until_ns - process.state.first_ns, 1)


def _unexplained(report: Report) -> Iterator[Candidate]:
    n = sum(report.unexplained.values())
    if n >= 10:
        share = n / max(report.events, 1)
        yield share, f"{n} events ({_percent(share)}) contradict the page states: do not trust the counts", None


def _lost_events(report: Report) -> Iterator[Candidate]:
    if report.lost_events >= 10:
        share = report.lost_events / (report.lost_events + report.events)
        yield share, f"{report.lost_events} events ({_percent(share)}) were lost: counts are too low", None


def _failed_installs(processes: Processes) -> Iterator[Candidate]:
    for p in processes:
        s = p.state
        if s.failed_installs >= 5:
            share = s.failed_installs / (s.installs + s.duplicate_installs + s.failed_installs)
            text = (
                f"{_who(p)}: {s.failed_installs} installs ({_percent(share)}) failed, and their transactions with them"
            )
            yield share, text, p


def _leak_suspects(processes: Processes) -> Iterator[Candidate]:
    for p in processes:
        if p.leak_suspects:
            first = p.leak_senders[0] if p.leak_senders else None
            most = f"; {_task(first)} took {first.pages} of them into use" if first else ""
            yield p.leak_suspects, f"{_who(p)}: {p.leak_suspects} pages in use for far longer than its others{most}", p


def _mapping_nearly_full(processes: Processes) -> Iterator[Candidate]:
    for p in processes:
        s = p.state
        if s.mapping_pages >= SMALL_MAPPING_PAGES:
            share = s.high_watermark / s.mapping_pages
            yield share, f"{_who(p)}: pages up to {s.high_watermark} of its {s.mapping_pages} were used", p


def _one_sender(processes: Processes) -> Iterator[Candidate]:
    for p in processes:
        share = _busiest_share(p)
        if p.busiest and p.busiest.pid != p.state.pid and share >= 0.5 and p.state.mapping_pages >= SMALL_MAPPING_PAGES:
            pages = _mean_pages(p.busiest.used_ns, p)
            text = (
                f"{_who(p)}: {_task(p.busiest)} keeps {pages:.0f} of its {p.state.mapping_pages} pages in use "
                f"on average, {_percent(share)} of all that are"
            )
            yield pages / p.state.mapping_pages, text, p


def _duplicate_installs(processes: Processes) -> Iterator[Candidate]:
    for p in processes:
        s = p.state
        if s.duplicate_installs >= 10:
            share = s.duplicate_installs / (s.installs + s.duplicate_installs)
            yield share, f"{_who(p)}: {_percent(share)} of installs lost a race with another sender", p


def _refaults(processes: Processes) -> Iterator[Candidate]:
    for p in processes:
        s = p.state
        if s.refaults >= 50:
            share = s.refaults / (s.refaults + s.reuses)
            text = f"{_who(p)}: {_percent(share)} of the pages that were wanted again had been reclaimed"
            yield share, text, p


def _working_set(report: Report) -> Iterator[Candidate]:
    reclaims = sum(p.state.reclaims for p in report.processes)
    refaults = sum(p.state.refaults for p in report.processes)
    if reclaims >= 100:
        delay = report.overall.refault_delay
        half = f", half within {duration(delay.p50)}" if delay and delay.p50 is not None else ""
        text = f"{refaults} of {reclaims} pages that were reclaimed were installed again{half}: they were still needed"
        yield refaults / reclaims, text, None


def _direct_reclaim(report: Report) -> Iterator[Candidate]:
    direct = [r for r in report.reclaimers if r.how == "direct"]
    n, total = sum(r.reclaims for r in direct), sum(r.reclaims for r in report.reclaimers)
    if n >= 20:
        most = direct[0]
        text = (
            f"senders reclaimed {n} of {total} pages ({_percent(n / total)}) themselves, while installing: "
            f"{_task(most)} {most.reclaims}"
        )
        yield n / total, text, None


def _lru_skips(processes: Processes) -> Iterator[Candidate]:
    for p in processes:
        skips = p.lru_skips
        if skips and skips.total >= 100:
            offered = skips.total + p.state.reclaims
            share = skips.total / offered
            text = f"the shrinker could not take a page {skips.total} times of {offered} ({_percent(share)})"
            yield share, f"{_who(p)}: {text}: {obstacles(skips)}", p


def _install_latency(processes: Processes) -> Iterator[Candidate]:
    for p in processes:
        q = p.install_latency
        if q is not None and q.p99 is not None and q.p50 is not None and q.n >= 100:
            text = f"one install in a hundred takes {duration(q.p99)} or more, half take {duration(q.p50)} at most"
            yield q.p99 / 1e6, f"{_who(p)}: {text}", p


def _fan_in(processes: Processes) -> Iterator[Candidate]:
    for p in processes:
        pages = _mean_pages(p.state.active_ns, p)
        if pages >= BUSY_PAGES and _busiest_share(p) < 0.5:
            text = f"{_who(p)}: {p.sending_processes} processes send to it and keep {pages:.0f} pages in use on average"
            yield p.sending_processes, text, p


def _idle_pages(report: Report) -> Iterator[Candidate]:
    live = [p for p in report.processes if not p.state.released]
    idle, held = sum(p.long_idle_pages for p in live), sum(p.state.active + p.state.lru for p in live)
    if idle >= 64:
        most = max(live, key=lambda p: p.long_idle_pages)
        text = (
            f"{idle} of {held} pages held ({_size(idle, report)}) have lain idle for over {LONG_IDLE_NS / 1e9:g} s: "
            f"{_who(most)} {most.long_idle_pages}"
        )
        yield idle / held, text, None


def _mapping_churn(report: Report) -> Iterator[Candidate]:
    short = short_lived(p for p in report.processes if not p.folded)
    n = len(short) + report.folded.short_lived
    if n >= 10:
        rate = n / max(report.duration_s, 1.0)
        installs = sum(s.installs for s in short) + report.folded.short_installs
        text = (
            f"{n} mappings were made and gone within {SHORT_MAPPING_NS / 1e9:g} s, with "
            f"{installs} pages installed for them"
        )
        yield rate, text, None


def _large_pages(report: Report) -> Iterator[Candidate]:
    pages = sum(p.state.active_ns + p.state.lru_ns for p in report.processes) / 1e9 / max(report.duration_s, 1e-9)
    if pages:
        times = report.meta.page_size / 4096
        text = (
            f"pages of {report.meta.page_size // 1024} KiB: {_size(pages, report)} held on average; a small buffer "
            f"keeps {times:g} times the memory that it would with 4 KiB"
        )
        yield report.meta.page_size, text, None


# Thresholds are choices, each with its reason; none is taken from a run.
RULES: Final[tuple[Rule, ...]] = (
    # Every event of the kernel has its place in the transition table, so this is a bug here or a loss that was not
    # counted; one in a thousand shows in the figures.
    Rule("unexplained-events", "high", 0.001, "share of events", whole=_unexplained),
    # One in a hundred: about the confidence that a p99 asks for.
    Rule("lost-events", "high", 0.01, "share of events", whole=_lost_events),
    # Each fails a transaction (ENOMEM), which the caller sees. A few may fail when a process dies meanwhile (ESRCH).
    Rule("failed-installs", "high", 0.001, "share of installs", mapping=_failed_installs),
    # A page or two can stay in use because buffers share them in turn.
    Rule("leak-suspects", "high", 4, "pages", mapping=_leak_suspects),
    # The kernel looks for a sender of one-way spam that holds a quarter of the mapping at one moment (debug_low_async_
    # space_locked()); a tenth on average, and half of all that is in use, is as much over a whole observation.
    Rule("one-sender", "high", 0.1, "share of the mapping", mapping=_one_sender),
    # With a tenth left, the next large transaction may find no room (ENOSPC); the kernel calls async space low then.
    Rule("mapping-nearly-full", "medium", 0.9, "share of the mapping", mapping=_mapping_nearly_full),
    # A loser allocates and clears a page for nothing. Races need senders that meet within microseconds: one in a
    # hundred is contention.
    Rule("duplicate-installs", "medium", 0.01, "share of installs", mapping=_duplicate_installs),
    # Installing a page (allocate, clear, map) costs some ten times what taking it off the LRU does, so from one in ten
    # on the refaults cost as much as all reuses.
    Rule("refault-storm", "medium", 0.1, "share of pages wanted again", mapping=_refaults),
    # The larger part of what is reclaimed belongs to the working set: reclaim costs and frees nothing for long.
    Rule("working-set-reclaimed", "medium", 0.5, "share of reclaims", whole=_working_set),
    # kswapd is there so that senders need not; that it falls behind now and then is ordinary.
    Rule("direct-reclaim", "medium", 0.1, "share of reclaims", whole=_direct_reclaim),
    # Reclaim looks at these pages in vain more often than not: they are counted as reclaimable, and are not.
    Rule("lru-skips", "medium", 0.5, "share of attempts", mapping=_lru_skips),
    # An install takes microseconds; a thousand times that was spent waiting, for a lock or for reclaim.
    Rule("install-latency", "medium", 1.0, "ms", mapping=_install_latency),
    Rule("fan-in", "info", LIBBINDER_THREADS + 1, "sending processes", mapping=_fan_in),
    # The larger part of what is held is of no use to anybody.
    Rule("idle-pages", "info", 0.5, "share of pages held", whole=_idle_pages),
    # One a second: mmap, first installs and release are then a steady cost.
    Rule("mapping-churn", "info", 1.0, "mappings a second", whole=_mapping_churn),
    # The smallest page above 4 KiB that arm64 has.
    Rule("large-pages", "info", 16384, "bytes", whole=_large_pages),
)

"""What a report is made of: plain data, filled by `summarize` and put on a page by the writers in `reports/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from binder_observe.analysis.metadata import MetadataCost
from binder_observe.audit import UNCHECKED, Audit
from binder_observe.events import NO_ALLOC
from binder_observe.lifetimes import Quantiles
from binder_observe.sources import Meta
from binder_observe.tracker import AllocState, LruSkips

Severity = Literal["high", "medium", "info"]
How = Literal["kswapd", "direct", "other"]

# A page that has lain on the LRU for this long is long idle: under even traffic a page that is in use comes back
# within some milliseconds, so after a second it is kept for nothing that goes on.
LONG_IDLE_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Sender:
    """A process whose transactions took pages of a mapping (its own, when it sends to itself).

    `held_ns` is the page-time, in use and on the LRU, of the lives that it installed: how it made the mapping grow;
    `used_ns` that of the stays in use that it began, by install or reuse: how busy it keeps it. Both up to the end of
    the observation.
    """

    pid: int
    comm: str | None
    installs: int
    duplicate_installs: int
    held_ns: int
    used_ns: int = 0


@dataclass(frozen=True, slots=True)
class LeakSender:
    """A process that installed or reused suspected pages when their stay in use began."""

    pid: int
    comm: str | None
    pages: int


@dataclass(frozen=True, slots=True)
class Reclaimer:
    """A process that took parked pages back.

    `how`: kswapd (by its name); direct: the process was inside an attempt to install a page, whose own allocation
    entered the shrinker; other: any other task (direct reclaim elsewhere in the kernel, a writer of drop_caches...).
    """

    pid: int
    comm: str | None
    how: How
    reclaims: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that stands out: `text` in plain words, and the number behind it.

    `value` passed `threshold`, both in `unit`; `pid` and `alloc` are None when it is about the whole observation.
    """

    name: str  # of its rule in `findings.RULES`
    severity: Severity
    text: str
    value: float
    threshold: float
    unit: str
    pid: int | None = None
    alloc: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """One binder_alloc: a process has one for each context that it opened. Or, when it is `folded`, `mappings` of one
    name that were released (see `analysis.released`), whose counters are summed; it has no pid and no alloc number (0).

    `lives_ended` counts the lives under observation by how they ended, `lives_left_truncated` those of them whose
    birth was not seen. Quantiles are None when no duration with a known start was seen:

    - `lifetime`: install to reclaim or release
    - `active_span`, `idle_span`: one stay in use; one stay on the LRU, until reuse, reclaim or release
    - `refault_delay`: from reclaim until the page is installed again
    - `install_latency`: from ALLOC_PAGE_START to ALLOC_PAGE_END, duplicates included

    `lru_skips` is None where the shrinker's callback was not probed.

    `senders` are the five that installed pages and hold most page-time; `busiest` is the one of the `sending_processes`
    that keeps most pages in use. `long_idle_pages` have lain on the LRU for longer than LONG_IDLE_NS at the end;
    `leak_suspects` are pages that `analysis.leaks` suspects, `leak_senders` who took them into use, most pages first.
    """

    state: AllocState
    lives_ended: dict[str, int]
    lives_left_truncated: int
    lifetime: Quantiles | None
    active_span: Quantiles | None = None
    idle_span: Quantiles | None = None
    refault_delay: Quantiles | None = None
    install_latency: Quantiles | None = None
    lru_skips: LruSkips | None = None
    senders: tuple[Sender, ...] = ()
    busiest: Sender | None = None
    sending_processes: int = 0
    long_idle_pages: int = 0
    leak_suspects: int = 0
    leak_senders: tuple[LeakSender, ...] = ()
    mappings: int = 1

    @property
    def folded(self) -> bool:
        return self.state.alloc == NO_ALLOC

    @property
    def pid(self) -> str:
        """For people: the pid, or how many mappings are folded."""
        return f"{self.mappings}x" if self.folded else str(self.state.pid)


# What a rule finds: how much, what to say, and about which mapping (None: about the whole observation).
Candidate = tuple[float, str, ProcessReport | None]


@dataclass(frozen=True, slots=True)
class Passed:
    """Mappings that a rule of `findings.RULES` has something to say of: how many, and the largest."""

    n: int = 0
    most: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Folded:
    """What the rows of folded mappings do not tell: of each mapping on its own, by the name of a rule; and sums."""

    passed: Mapping[str, Passed] = field(default_factory=dict)
    short_lived: int = 0  # made and gone within a second
    short_installs: int = 0  # pages installed for those
    unknown_before: int = 0  # pages from before attach of which nothing was ever known
    mapped_ns: int = 0  # page-time mapped


@dataclass(frozen=True, slots=True)
class Overall:
    """The quantiles of `ProcessReport` over all mappings together, and page-time in seconds."""

    lifetime: Quantiles | None = None
    active_span: Quantiles | None = None
    idle_span: Quantiles | None = None
    refault_delay: Quantiles | None = None
    install_latency: Quantiles | None = None
    active_page_s: float = 0.0
    idle_page_s: float = 0.0


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
    overall: Overall = Overall()
    reclaimers: tuple[Reclaimer, ...] = ()  # most reclaims first
    audit: Audit = UNCHECKED
    folded: Folded = Folded()
    findings: tuple[Finding, ...] = ()  # most severe first; none when nothing stands out

    def to_dict(self) -> dict[str, object]:
        """The JSON report, as docs/report.md and reports/report.schema.json describe it."""
        from binder_observe.analysis.as_dict import as_dict

        return as_dict(self)

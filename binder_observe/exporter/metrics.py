"""Every metric: its name, its type, its labels and its help. docs/prometheus.md lists them, and a test compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

MAPPING: Final = ("pid", "comm", "context")
AUDITS: Final = ("unchecked", "agreed", "inconclusive", "disagreed")
MEASURES: Final = ("lifetime", "active_span", "idle_span", "refault_delay", "install_latency")  # of `Overall`


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` is the whole one, as it is scraped."""

    name: str
    kind: Literal["counter", "gauge", "info"]
    text: str
    labels: tuple[str, ...] = ()


# The counters of a mapping, in the order of `Series.counts`; page-seconds and LRU_SKIPS come after them.
COUNTERS: Final = (
    Metric("binder_page_installs_total", "counter", "Pages installed.", MAPPING),
    Metric("binder_page_duplicate_installs_total", "counter",
           "Attempts to install a page that lost a race with another sender.", MAPPING),
    Metric("binder_page_failed_installs_total", "counter", "Attempts to install a page that failed.", MAPPING),
    Metric("binder_page_parks_total", "counter", "Pages put on the LRU, not counting teardown.", MAPPING),
    Metric("binder_page_reuses_total", "counter", "Pages taken from the LRU and used again.", MAPPING),
    Metric("binder_page_reclaims_total", "counter", "Pages that the shrinker took.", MAPPING),
    Metric("binder_page_refaults_total", "counter", "Installs of a page that the shrinker had taken.", MAPPING),
)  # fmt: skip
REASONS: Final = ("alloc_lock", "mmap_lock", "mm_gone", "other")  # fields of `LruSkips`
LRU_SKIPS: Final = Metric(
    "binder_page_lru_skips_total",
    "counter",
    "Times that the shrinker gave a page up, by what was in its way; absent without --latency.",
    (*MAPPING, "reason"),
)
PAGE_SECONDS: Final = Metric(
    "binder_page_seconds_total", "counter", "Page-time in use (active) and idle (lru).", (*MAPPING, "state")
)
PAGES: Final = Metric(
    "binder_pages", "gauge", "Pages of live mappings by state: active, lru, free, unknown.", (*MAPPING, "state")
)
MAPPING_PAGES: Final = Metric("binder_mapping_pages", "gauge", "Size of live mappings, in pages.", MAPPING)
HIGH: Final = Metric(
    "binder_high_watermark_pages", "gauge", "Most pages that a live mapping ever reached up to (pages_high).", MAPPING
)
MAPPINGS: Final = Metric("binder_mappings", "gauge", "Live mappings.")
SEEN: Final = Metric("binder_mappings_seen_total", "counter", "Mappings seen, released ones included.")
DURATION: Final = Metric(
    "binder_page_duration_seconds",
    "gauge",
    "Quantiles of durations over all mappings since the start (Kaplan-Meier); not to be summed or averaged.",
    ("measure", "probability"),
)
INFO: Final = Metric(
    "binder_observe_info",
    "info",
    "What is observed, and by which version; source is live or simulated.",
    ("version", "source", "kernel", "generation", "page_size"),
)
UP: Final = Metric("binder_observe_up", "gauge", "1 while events are being read.")
EVENTS: Final = Metric("binder_observe_events_total", "counter", "Events of the kernel received.")
LOST: Final = Metric("binder_observe_lost_events_total", "counter", "Events that did not reach the observer.")
UNEXPLAINED: Final = Metric(
    "binder_observe_unexplained_total", "counter", "Events that contradict the page states that are known."
)
AUDIT: Final = Metric(
    "binder_observe_audit", "gauge", "1 for what the last check against the kernel's own page counts said.", ("result",)
)
AGE: Final = Metric(
    "binder_observe_last_event_age_seconds", "gauge", "Time since the last event; absent until there was one."
)

METRICS: Final = (
    PAGES, MAPPING_PAGES, HIGH, *COUNTERS, LRU_SKIPS, PAGE_SECONDS, MAPPINGS, SEEN, DURATION,
    INFO, UP, EVENTS, LOST, UNEXPLAINED, AUDIT, AGE,
)  # fmt: skip

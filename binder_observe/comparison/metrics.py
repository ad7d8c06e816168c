"""What is compared: one table of metrics, with the sums that each is made of.

A metric is either a ratio of two sums over time slices (a rate, a mean number of pages, a share), a quantile of a
duration, or a single number of the whole observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["rate", "state", "share", "duration", "single"]

# Sums over a slice; `slices.py` fills them. A sum belongs to the slice in which what is summed began.
SUMS: Final = (
    "seconds",
    "installs",
    "duplicates",
    "failures",
    "attempts",
    "parks",
    "reuses",
    "reclaims",
    "refaults",
    "leaves",  # of the LRU: reuses and reclaims
    "active_s",  # page-time, in page-seconds
    "lru_s",
    "held_s",
)
PROBABILITIES: Final[Mapping[str, float]] = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Metric:
    """`over` names the sums (numerator, denominator) of a rate, state or share; `duration` and `probability` say which
    quantile of what."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    over: tuple[str, str] | None = None
    duration: str | None = None
    probability: float | None = None


def _rate(name: str, what: str, meaning: str) -> Metric:
    return Metric(name, "rate", "1/s", f"{meaning}, a second", (what, "seconds"))


def _state(name: str, what: str, meaning: str) -> Metric:
    return Metric(name, "state", "pages", f"{meaning}, mean over time", (what, "seconds"))


def _share(name: str, part: str, whole: str, meaning: str) -> Metric:
    return Metric(name, "share", "", f"{meaning}, 0 to 1", (part, whole))


def _single(name: str, unit: str, meaning: str) -> Metric:
    return Metric(name, "single", unit, meaning)


DURATIONS: Final[Mapping[str, str]] = {
    "lifetime": "life of a page, from install to reclaim or release",
    "active_span": "one stay of a page in use",
    "idle_span": "one stay of a page on the LRU",
    "refault_delay": "reclaim of a page until it is installed again",
    "install_latency": "ALLOC_PAGE_START to ALLOC_PAGE_END, duplicates included",
}

METRICS: Final[tuple[Metric, ...]] = (
    _rate("installs", "installs", "pages installed"),
    _rate("duplicate_installs", "duplicates", "installs lost to another task that was quicker"),
    _rate("failed_installs", "failures", "failed installs"),
    _rate("parks", "parks", "pages parked on the LRU"),
    _rate("reuses", "reuses", "pages taken from the LRU into use"),
    _rate("reclaims", "reclaims", "pages that the shrinker took"),
    _rate("refaults", "refaults", "pages reclaimed and later installed again"),
    _state("active_pages", "active_s", "pages in use"),
    _state("lru_pages", "lru_s", "pages on the LRU"),
    _share("idle_share", "lru_s", "held_s", "page-time on the LRU among that of all installed pages"),
    _share("duplicate_share", "duplicates", "installs", "duplicate installs for each install"),
    _share("failed_share", "failures", "attempts", "failed installs among all attempts"),
    _share("reuse_share", "reuses", "leaves", "reuses among reuses and reclaims"),
    _share("refault_share", "refaults", "reclaims", "refaults among reclaims"),
    *(
        Metric(f"{duration}_{name}", "duration", "ns", f"{meaning}: {name}", duration=duration, probability=p)
        for duration, meaning in DURATIONS.items()
        for name, p in PROBABILITIES.items()
    ),
    _single("active_pages_max", "pages", "most pages in use at a time"),
    _single("lru_pages_max", "pages", "most pages on the LRU at a time"),
    _single("mapped_pages", "pages", "size of the mappings, mean over time"),
    _single("touched_pages", "pages", "distinct pages that were ever installed"),
    _single("high_watermark", "pages", "sum of the mappings' high watermarks"),
    _single("metadata_bytes", "bytes", "allocator metadata of the recording's own kernel, mean over time"),
    _single("metadata_bytes_before", "bytes", "allocator metadata as before 6.14, mean over time"),
    _single("metadata_bytes_after", "bytes", "allocator metadata as since 6.14, mean over time"),
    _single("lost_events", "events", "events that did not reach the observer"),
    _single("unexplained", "events", "events that the page state machine could not explain"),
)

BY_NAME: Final[Mapping[str, Metric]] = {metric.name: metric for metric in METRICS}

"""What /metrics says, in the oracle's terms."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families as parse

from tests.kernels.oracle import Counts

Labels = dict[str, str]


def samples(metrics: str, name: str) -> list[tuple[Labels, float]]:
    return [(s.labels, s.value) for family in parse(metrics) for s in family.samples if s.name == name]


def value(metrics: str, name: str, **labels: str) -> float:
    """Of the one sample that has these labels."""
    (found,) = [v for own, v in samples(metrics, name) if labels.items() <= own.items()]
    return found


def gauges(metrics: str) -> dict[tuple[int, str], list[Counts]]:
    """As `oracle.parse`: (pid, context) -> pages active, on the LRU, free, and the high watermark."""
    found: dict[tuple[int, str], list[Counts]] = {}
    for labels, high in samples(metrics, "binder_high_watermark_pages"):
        if labels["pid"] != "other":
            states = {
                state: int(value(metrics, "binder_pages", state=state, **labels)) for state in ("active", "lru", "free")
            }
            found[int(labels["pid"]), labels["context"]] = [(*states.values(), int(high))]  # type: ignore[list-item]
    return found


def audit(metrics: str) -> str:
    """What the last check said."""
    (result,) = [labels["result"] for labels, on in samples(metrics, "binder_observe_audit") if on]
    return result

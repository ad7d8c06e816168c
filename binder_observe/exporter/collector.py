"""The newest snapshot as metric families."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from binder_observe.analysis.report import Overall, Report
from binder_observe.exporter import metrics as m
from binder_observe.exporter.ledger import Series
from binder_observe.exporter.worker import Worker

Sample = tuple[tuple[str, ...], float]  # label values, value
_NS: Final = 1e9


def registry(worker: Worker) -> CollectorRegistry:
    """What is scraped: the observer's own process as well, for what observing costs."""
    found = CollectorRegistry()
    found.register(SnapshotCollector(worker))
    ProcessCollector(registry=found)
    return found


class SnapshotCollector(Collector):
    """Reads `worker.snapshot`, once a scrape, so that all values of a scrape belong together."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        snapshot, last_event_ns = self._worker.snapshot, self._worker.last_event_ns
        meta = self._worker.source.meta
        info = (meta.tool_version, meta.source, meta.kernel, meta.generation, str(meta.page_size))
        yield self._family(m.INFO, [(info, 1)])
        yield self._family(m.UP, [((), int(self._worker.health().ok))])
        if last_event_ns is not None:
            yield self._family(m.AGE, [((), max(self._worker.clock() - last_event_ns, 0) / _NS)])
        if snapshot is not None:
            yield from self._observer(snapshot.report)
            yield from self._mappings(snapshot.series)

    def _observer(self, report: Report) -> Iterator[Metric]:
        yield self._family(m.EVENTS, [((), report.events)])
        yield self._family(m.LOST, [((), report.lost_events)])
        yield self._family(m.UNEXPLAINED, [((), sum(report.unexplained.values()))])
        yield self._family(m.AUDIT, [((result,), int(result == audit(report))) for result in m.AUDITS])
        yield self._family(m.MAPPINGS, [((), sum(not p.state.released for p in report.processes))])
        yield self._family(m.SEEN, [((), sum(p.mappings for p in report.processes))])
        yield self._family(m.DURATION, _durations(report.overall))

    def _mappings(self, series: tuple[Series, ...]) -> Iterator[Metric]:
        yield self._family(
            m.PAGES,
            (
                ((*s.key, state), pages)
                for s in series
                for state, pages in (("active", s.active), ("lru", s.lru), ("free", s.free), ("unknown", s.unknown))
            ),
        )
        yield self._family(m.MAPPING_PAGES, ((s.key, s.mapping_pages) for s in series))
        yield self._family(m.HIGH, ((s.key, s.high_watermark) for s in series))
        for i, metric in enumerate(m.COUNTERS):
            yield self._family(metric, [(s.key, s.counts[i]) for s in series])
        behind = len(m.COUNTERS)
        yield self._family(
            m.PAGE_SECONDS,
            (
                ((*s.key, state), ns / _NS)
                for s in series
                for state, ns in zip(("active", "lru"), s.counts[behind : behind + 2], strict=True)
            ),
        )
        if self._worker.source.meta.observes_skips:
            yield self._family(
                m.LRU_SKIPS,
                (
                    ((*s.key, reason), n)
                    for s in series
                    for reason, n in zip(m.REASONS, s.counts[behind + 2 :], strict=True)
                ),
            )

    def _family(self, metric: m.Metric, samples: Iterable[Sample]) -> Metric:
        text = metric.text
        if self._worker.source.meta.source == "simulated":
            text = f"SIMULATED: {text}"
        if metric.kind == "info":
            (labels, _), *_ = samples
            return InfoMetricFamily(
                metric.name.removesuffix("_info"), text, value=dict(zip(metric.labels, labels, strict=True))
            )
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = kind(metric.name, text, labels=metric.labels)
        for labels, value in samples:
            family.add_metric(labels, value)
        return family


def audit(report: Report) -> str:
    """One of `metrics.AUDITS`."""
    if not report.audit.checked:
        return "unchecked"
    return {True: "agreed", False: "disagreed", None: "inconclusive"}[report.audit.agreed]


def _durations(overall: Overall) -> Iterator[Sample]:
    for measure in m.MEASURES:
        found = getattr(overall, measure)
        for probability, ns in (("0.5", found.p50), ("0.99", found.p99)) if found else ():
            if ns is not None:
                yield (measure, probability), ns / _NS

"""What is scraped is the report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from binder_observe.analysis.report import Report
from binder_observe.audit import UNCHECKED, Audit, Difference
from binder_observe.audit import Counts as PageCounts
from binder_observe.events import EventBatch, Kind
from binder_observe.exporter import metrics as m
from binder_observe.exporter.collector import registry
from binder_observe.exporter.ledger import LONGEST_NAME
from binder_observe.exporter.server import Server
from binder_observe.exporter.worker import Worker
from binder_observe.observation import Observation
from binder_observe.sources.simulator import SimulatorSource
from tests.build import META, attach, batch, install, mapped, row
from tests.exporter.scraping import Labels, Scraped, ended, get, once, scrape
from tests.top.build import FakeSource, named

ROOT = Path(__file__).parent.parent.parent


def expected(report: Report, info: dict[str, str]) -> Scraped:
    """The metrics of a source at its end, from the report alone, with a series for every process that has a mapping."""
    found: Counter[tuple[str, Labels]] = Counter()

    def add(name: str, value: float, **labels: str) -> None:
        found[name, frozenset(labels.items())] += value  # type: ignore[assignment]

    for p in report.processes:
        s = p.state
        who = {"pid": str(s.pid), "comm": s.comm or "?", "context": s.context or "?"}
        if s.released:
            who = {"pid": "other", "comm": "other", "context": "other"}
        for state in ("active", "lru", "free", "unknown"):
            add("binder_pages", 0 if s.released else getattr(s, state), **who, state=state)
        add("binder_mapping_pages", 0 if s.released else s.mapping_pages, **who)
        add("binder_high_watermark_pages", 0 if s.released else s.high_watermark, **who)
        for name in (
            "installs", "duplicate_installs", "failed_installs", "parks", "reuses", "reclaims", "refaults",
        ):  # fmt: skip
            add(f"binder_page_{name}_total", getattr(s, name), **who)
        for reason in ("alloc_lock", "mmap_lock", "mm_gone", "other"):
            assert p.lru_skips
            add("binder_page_lru_skips_total", getattr(p.lru_skips, reason), **who, reason=reason)
        add("binder_page_seconds_total", s.active_ns / 1e9, **who, state="active")
        add("binder_page_seconds_total", s.lru_ns / 1e9, **who, state="lru")
    add("binder_mappings", sum(not p.state.released for p in report.processes))
    add("binder_mappings_seen_total", len(report.processes))
    for measure, q in (
        ("lifetime", report.overall.lifetime), ("active_span", report.overall.active_span),
        ("idle_span", report.overall.idle_span), ("refault_delay", report.overall.refault_delay),
        ("install_latency", report.overall.install_latency),
    ):  # fmt: skip
        for probability, ns in (("0.5", q.p50), ("0.99", q.p99)) if q else ():
            if ns is not None:
                add("binder_page_duration_seconds", ns / 1e9, measure=measure, probability=probability)
    add("binder_observe_info", 1, **info)
    add("binder_observe_up", 0)
    add("binder_observe_events_total", report.events)
    add("binder_observe_lost_events_total", report.lost_events)
    add("binder_observe_unexplained_total", sum(report.unexplained.values()))
    for result in ("unchecked", "agreed", "inconclusive", "disagreed"):
        add("binder_observe_audit", result == "unchecked", result=result)
    return dict(found)


@pytest.mark.parametrize("scenario", ["memory-pressure", "churn"])
def test_every_value_is_the_reports(scenario: str) -> None:
    source = SimulatorSource(scenario, duration_s=0.5)
    with ended(source) as (worker, server):
        assert worker.snapshot
        report = worker.snapshot.report
        assert report.complete
        found = {key: value for key, value in scrape(server).items() if not key[0].startswith("process_")}
        age = found.pop((m.AGE.name, frozenset()))
        assert age == 0  # the clock of `serving` stands
        info = {"version": "0.1.0", "source": "simulated", "kernel": "simulated 6.14", "generation": "6.14"}
        wanted = expected(report, {**info, "version": source.meta.tool_version, "page_size": "4096"})
        other = [key for key in found if ("pid", "other") in key[1] and key not in wanted]
        assert not any(found.pop(key) for key in other)  # nothing released: all zero
        assert found == pytest.approx(wanted, abs=1e-9)
        assert sum(v for (name, _), v in found.items() if name == "binder_page_installs_total") > 0


def test_all_metrics_are_there_and_marked_simulated() -> None:
    with ended(SimulatorSource("memory-pressure", duration_s=0.5)) as (_, server):
        families = list(parse(get(f"{server.url}/metrics")[1]))
        names = {s.name for family in families for s in family.samples}
        assert {metric.name for metric in m.METRICS} == {n for n in names if not n.startswith("process_")}
        for family in families:
            assert family.documentation.startswith("SIMULATED: ") != family.name.startswith("process_")
        status, text = get(f"{server.url}/metrics", "application/openmetrics-text; version=1.0.0")
        assert status == 200
        assert {s.name for family in parse_openmetrics(text) for s in family.samples} == names  # type: ignore[no-untyped-call]


def test_live_data_is_not_marked_simulated() -> None:
    with ended(once(FakeSource(batch(attach(), mapped()), meta=replace(META, source="live")))) as (_, server):
        text = get(f"{server.url}/metrics")[1]
        assert "SIMULATED" not in text
        assert m.LRU_SKIPS.name not in text  # its callback is not probed
        assert 'source="live"' in text


@pytest.mark.parametrize(
    ("audit", "result"),
    [
        (UNCHECKED, "unchecked"),
        (Audit(checked=True, compared=2), "agreed"),
        (Audit(checked=True, compared=2, inconclusive=1), "inconclusive"),
        (Audit(True, 1, 0, (Difference(1, "binder", PageCounts(0, 0, 0), PageCounts(1, 0, 0)),)), "disagreed"),
    ],
)
def test_the_comparison_with_the_kernel(audit: Audit, result: str) -> None:
    checks: list[Observation] = []

    class Fixed:
        def __init__(self, observation: Observation, take: Callable[[], EventBatch | None]) -> None:
            self.observation, self.take = observation, take

        def check(self) -> EventBatch:
            self.take()
            checks.append(self.observation)
            return audit.event(0)

    source = FakeSource(batch(attach(), mapped(), install(1)), batch(install(3, 1)), batch(install(5, 2)))
    server = Server("127.0.0.1", 0)
    worker = Worker(once(source), lambda: 0, most=9, auditor=Fixed)
    server.start(registry(worker), worker.health)
    worker.start()
    worker.join()
    try:
        found = scrape(server)
    finally:
        server.stop()
    assert checks
    assert {dict(labels)["result"]: v for (name, labels), v in found.items() if name == m.AUDIT.name} == {
        r: r == result for r in m.AUDITS
    }
    # what is taken in during a check counts as well
    assert sum(v for (name, _), v in found.items() if name == "binder_page_installs_total") == 3


@pytest.mark.parametrize("name", ['a"b\\c', "two\nlines", "\x1b[31mred", "\udcff", "näme", "x" * 300, "", "other"])
def test_names_do_no_harm(name: str) -> None:
    opened = row(0, Kind.MMAP, 4, task=100, name=name)
    with ended(once(FakeSource(batch(attach(), named(100, name), opened, install(1))))) as (_, server):
        found = [dict(labels) for metric, labels in scrape(server) if metric == "binder_mapping_pages"]
        (mine,) = (labels for labels in found if labels["pid"] == "100")
        for label in ("comm", "context"):
            assert mine[label].isprintable()
            assert 0 < len(mine[label]) <= LONGEST_NAME


@pytest.mark.checkout
def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "prometheus.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\|", text, re.M)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels)), "mapping" in labels) for name, kind, labels in rows}
    assert documented == {
        metric.name: (
            metric.kind.replace("info", "gauge"),  # as a scrape says
            set(metric.labels) - set(m.MAPPING),
            set(m.MAPPING) <= set(metric.labels),
        )
        for metric in m.METRICS
    }
    used = set(re.findall(r"\bbinder_(?!observe\b(?!_))\w+", text)) - {"binder_observe"}
    assert used <= set(documented)
    with ended(once(FakeSource(batch(attach())))) as (_, server):
        own = {name for name, _ in scrape(server) if name.startswith("process_")}
    assert own == set(re.findall(r"`(process_\w+)`", text))

"""An endpoint in this process, and what is scraped from it."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client.parser import text_string_to_metric_families as parse

from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch
from binder_observe.exporter.collector import registry
from binder_observe.exporter.server import Server
from binder_observe.exporter.worker import Worker
from binder_observe.sources import Source
from tests.build import attach, batch, install, mapped
from tests.top.build import FakeSource

Labels = frozenset[tuple[str, str]]

Scraped = dict[tuple[str, Labels], float]


@contextmanager
def serving(source: Source, most: int = 100, interval_s: float = 0.0) -> Iterator[tuple[Worker, Server]]:
    server = Server("127.0.0.1", 0)
    worker = Worker(source, lambda: 0, most=most, interval_s=interval_s)
    server.start(registry(worker), worker.health)
    try:
        yield worker, server
    finally:
        source.stop()
        worker.join()
        server.stop()


@contextmanager
def ended(source: Source, most: int = 100, interval_s: float = 1e9) -> Iterator[tuple[Worker, Server]]:
    """With the source at its end."""
    with serving(source, most, interval_s) as (worker, server):
        worker.start()
        worker.join()
        yield worker, server


def get(url: str, accept: str = "", method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Accept": accept}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scrape(server: Server) -> Scraped:
    status, text = get(f"{server.url}/metrics")
    assert status == 200
    found = [((s.name, frozenset(s.labels.items())), s.value) for family in parse(text) for s in family.samples]
    assert len(dict(found)) == len(found)  # no label set twice
    return dict(found)


def once(source: FakeSource) -> FakeSource:
    source.stop()
    return source


class Failing(FakeSource):
    def batches(self) -> Iterator[EventBatch]:
        yield batch(attach(), mapped(), install(1))
        raise ObserveError("the kernel\nwent away")

"""The HTTP endpoint: where it listens, what it answers, and /healthz."""

from __future__ import annotations

import socket

import pytest

from binder_observe.errors import ObserveError
from binder_observe.exporter import metrics as m
from binder_observe.exporter import worker as working
from binder_observe.exporter.server import MOST_REQUESTS, Server, parse_address
from tests.build import attach, batch, install, mapped
from tests.exporter.scraping import Failing, ended, get, once, scrape, serving
from tests.top.build import FakeSource, until


def test_healthz_says_what_is_the_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    source = FakeSource()
    with serving(source) as (worker, server):
        status, text = get(f"{server.url}/healthz")
        assert (status, text.split(":")[0]) == (503, "starting")
        assert dict(scrape(server))[m.UP.name, frozenset()] == 0
        worker.start()
        until(lambda: worker.snapshot)
        assert get(f"{server.url}/healthz")[0] == 200
        assert scrape(server)[m.UP.name, frozenset()] == 1
        assert (m.AGE.name, frozenset()) not in scrape(server)
        source.give(attach(), mapped(), install(1))
        until(lambda: (m.AGE.name, frozenset()) in scrape(server))
        monkeypatch.setattr(working, "STALLED_S", -1.0)
        status, text = get(f"{server.url}/healthz")
        assert (status, text.split(":")[0]) == (503, "stalled")
        monkeypatch.undo()
        source.stop()
        worker.join()
        status, text = get(f"{server.url}/healthz")
        assert (status, text.split(":")[0]) == (503, "ended")
        found = scrape(server)
        assert found[m.UP.name, frozenset()] == 0
        assert sum(v for (name, _), v in found.items() if name == "binder_page_installs_total") == 1


def test_healthz_has_the_reason_of_a_failure() -> None:
    with ended(Failing(), interval_s=0) as (worker, server):
        status, text = get(f"{server.url}/healthz")
        assert (status, text) == (503, "failed: the source failed: the kernel?went away\n")
        assert isinstance(worker.error, ObserveError)
        assert sum(v for (name, _), v in scrape(server).items() if name == "binder_page_installs_total") == 1


def test_other_paths_and_methods() -> None:
    with ended(once(FakeSource(batch(attach())))) as (_, server):
        assert get(f"{server.url}/")[0] == 200
        assert get(f"{server.url}/metrics?x=1")[0] == 200
        assert get(f"{server.url}/nothing")[0] == 404
        assert get(f"{server.url}/metrics", method="HEAD") == (200, "")
        assert get(f"{server.url}/metrics", method="POST")[0] == 501


def test_more_clients_than_it_answers_do_not_stop_it() -> None:
    with ended(once(FakeSource(batch(attach())))) as (_, server):
        address = (server.server_name, server.server_port)
        silent = [socket.create_connection(address) for _ in range(2 * MOST_REQUESTS)]
        for each in silent:
            each.close()

        def answers() -> bool:
            try:
                return get(f"{server.url}/metrics")[0] == 200
            except OSError:  # still full
                return False

        until(answers)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("127.0.0.1:9000", ("127.0.0.1", 9000)), ("[::1]:0", ("::1", 0)), ("localhost:65535", ("localhost", 65535))],
)
def test_addresses(text: str, parsed: tuple[str, int]) -> None:
    assert parse_address(text) == parsed


@pytest.mark.parametrize("text", ["9000", ":9000", "::1:9000", "a:b", "1.2.3.4:65536", "1.2.3.4", "trace.arrows", ""])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="ADDRESS:PORT"):
        parse_address(text)


def test_where_it_cannot_listen() -> None:
    taken = Server("127.0.0.1", 0)
    try:
        with pytest.raises(ObserveError, match="another program listens there"):
            Server("127.0.0.1", taken.server_port)
    finally:
        taken.stop()
    with pytest.raises(ObserveError, match="no address of this machine"):
        Server("192.0.2.1", 0)  # TEST-NET-1, RFC 5737: nobody's
    with pytest.raises(ObserveError, match="there is no address for"):
        Server("no.such.host.invalid", 0)

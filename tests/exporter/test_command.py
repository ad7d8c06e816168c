"""`binder-observe export --prometheus`: how it begins and ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from configparser import ConfigParser
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families as parse

from binder_observe.cli import cli
from binder_observe.commands import export_prometheus
from binder_observe.commands.options import LiveOptions
from binder_observe.errors import ObserveError
from binder_observe.exporter import metrics as m
from binder_observe.exporter.server import Server, parse_address
from tests.build import attach, batch, install, mapped
from tests.exporter.scraping import Failing, get, once
from tests.top.build import FakeSource, until

ROOT = Path(__file__).parent.parent.parent


def test_only_other_addresses_get_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    for host, warns in (("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)):
        server = Server(host, 0)
        try:
            export_prometheus._say_hello(server, None)
        finally:
            server.stop()
        said = capsys.readouterr().err
        assert ("warning" in said) == warns
        assert server.url in said
    assert parse_address(export_prometheus.DEFAULT)[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trace.arrows", "--prometheus"], "leave one out"),
        (["--prometheus", "trace.arrows", "lifetimes"], "ADDRESS:PORT"),
        (["--prometheus", "-o", "x.csv"], "--output goes with FILE"),
        (["--prometheus", "--list"], "--list goes with FILE"),
        (["--prometheus", "--simulate", "steady", "-p", "1"], "leave one out"),
        (["--prometheus", "--simulate", "steady", "--latency"], "leave one out"),
        (["--prometheus", "--simulate", "steady", "--name", "x"], "--name asks for this machine's kernel"),
        (["--prometheus", "--wait"], "--wait for whom"),
        (["trace.arrows", "lifetimes", "--context", "binder"], "--context goes with --prometheus"),
        (["--prometheus", "--simulate", "steady", "--check", "1"], "leave one out"),
        (["trace.arrows", "lifetimes", "--check", "1"], "--check goes with --prometheus"),
        (["--prometheus", "--seed", "1"], "--seed goes with --simulate"),
        (["trace.arrows", "lifetimes", "-p", "1"], "--pid goes with --prometheus"),
        (["trace.arrows", "lifetimes", "--simulate"], "--simulate goes with --prometheus"),
        (["trace.arrows", "lifetimes", "--most", "3"], "--most goes with --prometheus"),
        (["--list", "--json"], "--json goes with --prometheus"),
    ],
)
def test_combinations_that_make_no_sense(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(cli, ["export", *arguments])
    assert result.exit_code == 2
    assert words in result.output


def serve(**more: object) -> None:
    rest: dict[str, object] = {"check": None, "scenario": None, "seed": 0, "most": 10, **more}
    export_prometheus.serve(("127.0.0.1", 0), options=LiveOptions(interval=0.05), **rest)  # type: ignore[arg-type]


def test_a_failed_source_is_told_for_some_time_and_then_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Failing()
    monkeypatch.setattr("binder_observe.commands.live.ebpf_source", lambda *_: source)
    with pytest.raises(ObserveError, match="went away"):
        serve(linger_s=0.01)
    assert source.closed
    assert "/healthz says so" in capsys.readouterr().err


def test_a_source_at_its_end_waits_for_a_signal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = once(FakeSource(batch(attach(), mapped(), install(1))))
    monkeypatch.setattr("binder_observe.commands.live.ebpf_source", lambda *_: source)
    replies: list[tuple[int, str]] = []

    def client() -> None:
        said = ""

        def address() -> str:
            nonlocal said
            said += capsys.readouterr().err
            return said if "/healthz says so" in said else ""

        until(address)
        replies.append(get(re.findall(r"(http://\S+)/metrics", said)[0] + "/healthz"))
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=client)
    asking.start()
    serve(linger_s=120)
    asking.join()
    assert [status for status, _ in replies] == [503]
    assert source.closed


def test_sigterm_ends_it_in_order() -> None:
    command = [sys.executable, "-m", "binder_observe", "export", "--prometheus", "127.0.0.1:0", "--simulate", "steady"]
    with subprocess.Popen([*command, "-j"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stderr
            banner = program.stderr.readline()
            (url,) = re.findall(r"(http://\S+)/metrics", banner)
            assert "SIMULATED" in banner
            until(lambda: get(f"{url}/healthz")[0] == 200)
            infos = [s for f in parse(get(f"{url}/metrics")[1]) for s in f.samples if s.name == m.INFO.name]
            assert [s.labels["source"] for s in infos] == ["simulated"]
            program.send_signal(signal.SIGTERM)
            out, err = program.communicate(timeout=60)
        finally:
            program.kill()
    assert program.returncode == 0, err
    assert err.startswith("source simulated;")
    report = json.loads(out)
    assert report["source"] == "simulated"
    assert report["complete"]


@pytest.mark.checkout
def test_the_unit_starts_a_command_that_exists() -> None:
    unit = ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "docs" / "binder-observe.service")
    program, command, *arguments = unit["Service"]["ExecStart"].split()
    assert (Path(program).name, command) == ("binder-observe", "export")
    export = cli.get_command(click.Context(cli), command)
    assert export
    assert export.make_context(command, arguments).params["where"] == parse_address(export_prometheus.DEFAULT)

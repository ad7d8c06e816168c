"""A real Prometheus, and promtool."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from binder_observe.commands import export_prometheus
from binder_observe.exporter import metrics as m
from binder_observe.exporter.ledger import Counts
from binder_observe.sources.simulator import SimulatorSource
from tests.exporter.scraping import ended, get
from tests.top.build import until

ROOT = Path(__file__).parent.parent.parent


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        why = f"there is no {name} here (make test-slow installs it)"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return found


def _examples() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "prometheus.md").read_text(), re.S)


@pytest.mark.slow
@pytest.mark.checkout
def test_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    promtool = _tool("promtool")
    with ended(SimulatorSource("memory-pressure", duration_s=0.3)) as (_, server):
        text = get(f"{server.url}/metrics")[1]
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for what, example in zip(("config", "rules"), _examples(), strict=True):
        path = tmp_path / f"{what}.yml"
        path.write_text(example)
        done = subprocess.run([promtool, "check", what, str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.checkout
def test_a_real_prometheus_scrapes_it_and_answers(tmp_path: Path) -> None:
    prometheus = _tool("prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ended(SimulatorSource("memory-pressure", duration_s=0.3)) as (worker, server):
        config, rules = _examples()
        config = config.replace(export_prometheus.DEFAULT, f"127.0.0.1:{server.server_port}").replace("15s", "1s")
        (tmp_path / "rules.yml").write_text(rules)
        (tmp_path / "prometheus.yml").write_text("rule_files: [rules.yml]\n" + config)
        command = [prometheus, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
        with (
            (tmp_path / "log").open("w") as log,
            subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=log, stdout=log) as program,
        ):
            try:

                def query(words: str) -> dict[str, float]:
                    assert program.poll() is None, (tmp_path / "log").read_text()
                    try:
                        text = get(f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': words})}")
                    except OSError:
                        return {}  # not yet
                    rows = json.loads(text[1])["data"]["result"] if text[0] == 200 else []
                    return {r["metric"].get("pid", ""): float(r["value"][1]) for r in rows}

                until(lambda: query('up{job="binder"} == 1'))
                until(lambda: query("binder_observe_up"))
                assert worker.snapshot
                states = [p.state for p in worker.snapshot.report.processes]
                assert query("sum(binder_page_installs_total)") == {"": sum(s.installs for s in states)}
                assert query('binder_observe_info{source="simulated"}') == {"": 1}
                active = {str(s.pid): s.active for s in states}
                assert query('binder_pages{state="active",context="binder",pid!="other"}') == active
                counters = [metric.name for metric in m.COUNTERS]
                for name in counters:
                    own: Counts = tuple(s.counts[counters.index(name)] for s in worker.snapshot.series)
                    assert query(f"sum({name})") == {"": sum(own)}
            finally:
                program.terminate()

"""The documentation, held against the code."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import click
import numpy as np
import pytest

from binder_observe import frames, plots
from binder_observe.cli import COMMANDS, cli
from binder_observe.events import Kind
from binder_observe.rows import INSTALL, LIFE, SPAN
from binder_observe.simulator import scenario_tables
from binder_observe.simulator.scenarios import parse_scenario
from binder_observe.sources.simulator import SimulatorSource

pytestmark = pytest.mark.checkout
ROOT = Path(__file__).parent.parent


def text(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_kind_is_documented() -> None:
    events = text("docs/events.md")
    for kind in Kind:
        stem, _, end = kind.name.rpartition("_")
        assert f"`{kind.name}`" in events or (f"`{stem}_" in events and f"`_{end}`" in events), kind.name


def test_the_scenario_in_the_documentation_runs() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", text("docs/simulator.md"), re.S)
    source = SimulatorSource(parse_scenario(example, "docs"), duration_s=0.1)
    assert sum(len(batch) for batch in source.batches()) > 100


def test_every_key_of_a_scenario_is_documented() -> None:
    documented = set(re.findall(r"`(\w+)`", text("docs/simulator.md")))
    tables = ("ProcessGroup", "Traffic", "Demand", "Memory", "Reclaim", "Fault", "Scenario")
    keys = {field.name for table in tables for field in fields(getattr(scenario_tables, table))}
    inner = {"sender", "process", "traffic", "memory", "demand", "reclaim", "fault"}
    assert keys - inner <= documented


def test_the_readme_shows_commands_that_exist() -> None:
    for line in re.findall(r"binder-observe ([a-z]+)", text("README.md")):
        assert line in COMMANDS or line in ("is", "reads"), line
    for name in COMMANDS:
        assert f"binder-observe {name}" in text("README.md") or name == "simulate", name
    for line in re.findall(r"^(?:sudo )?binder-observe .*", text("README.md"), re.M):
        words = line.split("#")[0].replace("sudo ", "").split()[1:]
        named = cli.get_command(click.Context(cli), words[0]) if words and words[0] in COMMANDS else None
        options = {opt for param in (named or cli).params for opt in param.opts}
        assert {word for word in words if word.startswith("-")} <= options | {"--help"}, line


def test_what_a_history_keeps_is_documented() -> None:
    text_of = " ".join(text("docs/python.md").split())
    stay, life, attempt = (rows.dtype.itemsize for rows in (np.zeros(0, t) for t in (SPAN, LIFE, INSTALL)))
    assert f"{stay} bytes for each stay of a page in a state, {life} for each life and {attempt} for each" in text_of


def test_every_frame_and_plot_is_documented() -> None:
    documented = set(re.findall(r"`(\w+)[(`]", text("docs/python.md")))
    assert {*frames.__all__, *plots.__all__} - documented == set()
    assert {name for name in documented if name.startswith(("df_", "plot_"))} - {*frames.__all__, *plots.__all__} == {
        "df_",
        "plot_",
    }


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)

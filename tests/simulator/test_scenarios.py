"""Scenario files: the ones that ship, what each key does, and what is said of a mistake."""

from __future__ import annotations

import ast
import inspect
from importlib import resources
from itertools import pairwise
from random import Random

import pytest

from binder_observe.errors import ObserveError
from binder_observe.simulator import distributions, scenario_tables
from binder_observe.simulator.scenarios import load_scenario, parse_scenario, scenario_names

GOOD = """\
description = "two that talk"
duration_s = 2.5

[[process]]
name = "app"
count = 3

[[process]]
name = "server"
contexts = ["binder", "hwbinder"]

[[traffic]]
from = "app"
to = "server"
interval_us = { exponential = 500 }
data_bytes = { lognormal = [200, 1.0] }
"""


def test_those_that_ship() -> None:
    names = scenario_names()
    wanted = {"steady", "app-launch", "oneway-spam", "memory-pressure", "page-leak", "churn", "fan-in"}
    wanted |= {"reclaim-storm", "racing-installers", "out-of-memory", "pages-16k"}
    assert set(names) == wanted
    for name in names:
        scenario = load_scenario(name)
        assert scenario.name == name
        assert 20 < len(scenario.description) < 100
        assert scenario.duration_s <= 15
    assert load_scenario("pages-16k").page_size == 16384


def test_what_ships_is_commented() -> None:
    """Every file says where its numbers come from."""
    for name in scenario_names():
        text = (resources.files("binder_observe.simulator") / "scenarios" / f"{name}.toml").read_text()
        if name != "pages-16k":
            assert "choice" in text.split("description")[0], name


def test_values() -> None:
    scenario = parse_scenario(GOOD, "good.toml")
    assert scenario.name == "good"
    assert scenario.duration_s == 2.5
    assert scenario.process[0].count == 3
    assert scenario.process[1].contexts == ("binder", "hwbinder")
    traffic = scenario.traffic[0]
    assert (traffic.sender, traffic.to, traffic.kind) == ("app", "server", "call")
    mean = sum(traffic.interval_us) / distributions.QUANTILES
    assert mean == pytest.approx(500e3, rel=0.01), "times are kept in ns"
    assert sorted(traffic.data_bytes)[512] == pytest.approx(200, abs=1)


@pytest.mark.parametrize(
    ("change", "line", "reason"),
    [
        (("duration_s = 2.5", "duration_s = "), 2, "invalid value"),
        (("duration_s = 2.5", "duration_s = -1"), 2, "-1 is negative"),
        (("duration_s = 2.5", 'duration_s = "long"'), 2, "'long' is not a number"),
        (("duration_s = 2.5", "duration_s = 0"), 2, "a run must last longer than nothing"),
        (("duration_s = 2.5", "duration = 2.5"), 2, "there is no key 'duration'"),
        (("duration_s = 2.5", "page_size = 5000"), 2, "pages of 5000 bytes"),
        (("duration_s = 2.5", "cpus = 0"), 2, "there must be a CPU"),
        (("duration_s = 2.5", "duration_s = true"), 2, "True is not a number"),
        (('description = "two that talk"', ""), 1, "the key 'description' is missing"),
        (("count = 3", "count = 2.5"), 6, "2.5 is not a whole number"),
        (("count = 3", "cuont = 3"), 6, "there is no key 'cuont' here: it must be one of name, count"),
        (('name = "app"', ""), 4, "the key 'name' is missing"),
        (('name = "app"', 'name = "an.app.of.a.long.name"'), 5, "is longer than a comm, 15 bytes"),
        (('name = "server"', 'name = "app"'), 9, "there are two groups 'app'"),
        (('contexts = ["binder", "hwbinder"]', 'contexts = "binder"'), 10, "'binder' is not a list"),
        (('contexts = ["binder", "hwbinder"]', 'contexts = ["hwbinder"]'), 12, "does not open 'binder'"),
        (('contexts = ["binder", "hwbinder"]', "contexts = []"), 10, "opens at least one context"),
        (('contexts = ["binder", "hwbinder"]', "mapping_kib = 2"), 10, "at least one page"),
        (('to = "server"', 'to = "nobody"'), 14, "there is no group 'nobody': it must be one of app, server"),
        (('from = "app"', 'sender = "app"'), 13, "there is no key 'sender' here"),
        (('to = "server"', 'to = "server"\nkind = "twoway"'), 15, "'twoway' must be one of call, oneway"),
        (('to = "server"', 'to = "server"\nleak = 1.5'), 15, "a share of 1.5 is more than all"),
        (("{ exponential = 500 }", "{ exponental = 500 }"), 15, "there is no distribution 'exponental'"),
        (("{ exponential = 500 }", '{ exponential = "x" }'), 15, "'x' is not a number"),
        (("{ exponential = 500 }", "{ }"), 15, "a distribution has one key, this one has 0"),
        (("{ lognormal = [200, 1.0] }", "{ lognormal = [200] }"), 16, "lognormal takes a list of 2 numbers"),
        (("{ lognormal = [200, 1.0] }", "{ uniform = [9, 2] }"), 16, "uniform from 9 to 2 is empty"),
        (("{ lognormal = [200, 1.0] }", "{ pareto = [0, 1, 2] }"), 16, "pareto takes"),
        (("{ lognormal = [200, 1.0] }", "{ choice = [1, 2] }"), 16, "choice takes a list"),
        (("{ lognormal = [200, 1.0] }", "{ choice = [[1, 0]] }"), 16, "the weights of a choice are all 0"),
        (("[[traffic]]", "[traffic]"), 12, r"traffic must be written \[\[traffic\]\]"),
        (("[[traffic]]", "[[fault]]\nname = 'x'\n[[traffic]]"), 13, "there is no fault 'x'"),
        (("[[traffic]]", "[[fault]]\nname = 'no_page'\nrate = 2\n[[traffic]]"), 14, "more than always"),
        (("[[traffic]]", "[memory]\ncache_pages = 1\n[[traffic]]"), 12, "the key 'free_pages' is missing"),
    ],
)
def test_mistakes(change: tuple[str, str], line: int, reason: str) -> None:
    text = GOOD.replace(*change, 1)
    assert text != GOOD
    with pytest.raises(ObserveError, match=rf"^mine\.toml:{line}: .*{reason}"):
        parse_scenario(text, "mine.toml")


def test_the_right_one_of_several_tables_is_named() -> None:
    text = GOOD + '\n[[traffic]]\nfrom = "app"\nto = "server"\n\n[[traffic]]\nfrom = "app"\nto = "sever"\n'
    with pytest.raises(ObserveError, match=r"^x\.toml:24: there is no group 'sever'"):
        parse_scenario(text, "x.toml")


def test_every_key_is_documented() -> None:
    """Each key of each table has a docstring below it, or says with its name and its table's what it is."""
    tree = ast.parse(inspect.getsource(scenario_tables))
    evident = {"name", "count", "context", "threads", "start_s", "stop_s", "kind", "process", "traffic", "memory"}
    evident |= {"demand", "reclaim", "fault"}
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
            continue
        assert ast.get_docstring(node)
        for at, item in enumerate(node.body):
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                following = node.body[at + 1] if at + 1 < len(node.body) else None
                documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                assert documented or item.target.id in evident, f"{node.name}.{item.target.id}"


def test_distributions() -> None:
    random = Random(1)
    draws = [distributions.draw(distributions.lognormal(1000, 0.5), random) for _ in range(4000)]
    assert sorted(draws)[2000] == pytest.approx(1000, rel=0.05)
    assert set(distributions.constant(7)) == {7}
    uniform = distributions.uniform(10, 20)
    assert (uniform[0], uniform[-1]) == (10, 20)
    heavy = distributions.pareto(10, 1.0, 500)
    assert heavy[0] == 10
    assert heavy[-1] == 500
    assert all(a <= b for a, b in pairwise(heavy))
    mixed = distributions.choice([distributions.constant(1), distributions.uniform(100, 200)], [3, 1])
    assert mixed.count(1) == 768
    assert len(mixed) == distributions.QUANTILES
    assert distributions.choice([distributions.constant(5), distributions.constant(6)], [0, 1]).count(6) == 1024

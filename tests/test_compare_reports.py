"""The comparison's writers, held against golden files and the published schema.

`UPDATE_GOLDEN=1 pytest tests/test_compare_reports.py` writes the golden files anew; look at the difference before you
keep it.
"""

from __future__ import annotations

import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from binder_observe.comparison.metrics import BY_NAME, METRICS
from binder_observe.comparison.result import Check, Comparison, Difference, Side, in_order
from binder_observe.reports.comparison import as_json, html, terminal, words
from binder_observe.reports.comparison.report import ComparisonReport
from binder_observe.reports.terminal import WIDTH

GOLDEN = Path(__file__).parent / "golden"

A = Side(
    label="before.arrows", source="live", kernel="6.12.0-test", generation="6.8", page_size=4096, tool_version="0",
    command="record -o before.arrows", filters={"pid": ["1", "2"]}, duration_s=20.0, complete=True, events=123456,
    lost_events=0, unexplained=0, mappings=3, slices=20, notes=(),
)  # fmt: skip
B = replace(
    A, label="after.arrows", kernel="7.3.0-test", generation="6.14", lost_events=7, notes=("7 events were lost",)
)


def difference(name: str, a: float | None, b: float | None, comm: str | None = None, **more: Any) -> Difference:
    return Difference(BY_NAME[name], comm, comm and "binder", a, b, **more)


def sure(low: float | None, high: float | None, q: float) -> dict[str, Any]:
    return {"a_ci": (1.0, 2.0), "b_ci": (0.5, None), "ratio_ci": (low, high), "test": "slices", "p": q / 2, "q": q}


def comparison() -> Comparison:
    rows = [
        difference("duplicate_installs", 0.0, 30.25, test="slices", p=0.0002, q=0.001),
        difference("installs", 20480.0, 27300.0, **sure(1.25, 1.41, 0.001)),
        difference("installs", 153.0, 1.2e6, "system_server", weight=0.7, **sure(90.0, 9999.0, 0.001)),
        difference("idle_share", 0.984, 0.172, **sure(0.13, 0.26, 0.02)),
        replace(difference("parks", 5.0, 2.0, "audio.service", weight=0.1, **sure(0.3, None, 0.6)), context="hwbinder"),
        difference("lifetime_p50", 1.5e6, 2.5e9, **sure(1600.0, None, 0.004)),
        difference("lifetime_p99", None, 2.5e9, test="log-rank", p=0.002, q=0.004),
        difference("reclaims", 3.0, 0.0, **sure(0.0, 0.0, 0.01)),
        difference("active_pages", 10.0, 10.05, **sure(1.001, 1.009, 0.001)),
        difference("metadata_bytes", 8128.0, 3000.0),
        difference("metadata_bytes", 8128.0, 3000.0, "system_server"),
        difference("lost_events", 0, 7),
        difference("unexplained", 0, 0),
    ]
    return Comparison(
        a=A, b=B, name=None, slice_s=1.0, warnings=("B lost 7 of its events: its counts are too low",),
        only_in_a=(), only_in_b=tuple(f"example.app-{i} (binder)" for i in range(8)), differences=in_order(rows),
        checks=(Check("installs>+10%", "crossed", 33.3, "installs"), Check("reclaims>5", "kept", 0.0, "reclaims"),
                Check("duplicate_installs>+1%", "crossed", float("inf"), "duplicate_installs"),
                Check("active_pages>+0.1%", "noise", 0.5, "active_pages")),
    )  # fmt: skip


def same() -> Comparison:
    return replace(
        comparison(), a=replace(A, source="simulated"), b=replace(A, source="simulated"), warnings=(), only_in_b=(),
        differences=(difference("installs", 5.0, 5.0, **sure(0.9, 1.1, 1.0)),), checks=(), name="server",
    )  # fmt: skip


def odd_names() -> Comparison:
    c = comparison()
    name = "\x1b[31m<b>[bold]$x_1$\n"
    return replace(
        c, a=replace(A, label=name, notes=(name,)), only_in_a=(name,), warnings=(name,), name=name,
        differences=(*c.differences, difference("installs", 1.0, 2.0, name, **sure(1.5, 3.0, 0.01))),
    )  # fmt: skip


CASES = {"compare": comparison, "compare_same": same, "compare_odd_names": odd_names}


def as_text(c: Comparison, everything: bool = False) -> str:
    out = io.StringIO()
    terminal.write(c, out, everything=everything)
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("form", ["txt", "json"])
def test_golden(name: str, form: str) -> None:
    c = CASES[name]()
    text = as_text(c) + "\n---- everything ----\n" + as_text(c, True) if form == "txt" else as_json.text(c)
    path = GOLDEN / f"{name}.{form}"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_json_keeps_to_its_schema(name: str) -> None:
    schema = as_json.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    found = json.loads(as_json.text(CASES[name]()))
    jsonschema.validate(found, schema)
    assert set(found) == set(schema["properties"])
    assert set(found["differences"][0]) == set(schema["properties"]["differences"]["items"]["properties"])
    assert set(found["a"]) == set(schema["$defs"]["side"]["properties"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, "schema": 2}, schema)


@pytest.mark.parametrize("name", CASES)
def test_text_is_narrow_and_plain(name: str) -> None:
    text = as_text(CASES[name](), everything=True)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "\x1b" not in text


@pytest.mark.parametrize("name", CASES)
def test_the_page_fetches_nothing_and_lets_no_name_be_markup(name: str) -> None:
    page = html.render(CASES[name]())
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*""", page)
    assert "\x1b" not in page
    assert "<b>[bold]" not in page
    if name == "compare_odd_names":
        assert "&lt;b&gt;[bold]" in page


def test_the_page_says_all() -> None:
    c = comparison()
    page = html.render(c)
    for text in (
        *c.warnings,
        "installs&gt;+10%: crossed",
        "example.app-7 (binder)",
        "before.arrows",
        "7 events were lost",
    ):
        assert text in page
    assert page.count("<tr>") == 2 + len(terminal.chosen(c)) + len(c.differences)
    assert all(f"<dt>{metric.name}</dt>" in page for metric in METRICS)
    assert "What limits" not in html.render(same())


def test_simulated_data_says_so_everywhere() -> None:
    c = same()
    assert as_text(c).startswith("SIMULATED ")
    assert json.loads(as_json.text(c))["simulated"]
    assert '<span class="mark">SIMULATED</span>' in html.render(c)
    assert "SIMULATED" not in as_text(comparison())


@pytest.mark.parametrize(
    ("change", "text"),
    [(None, "-"), (float("inf"), "new"), (-1, "gone"), (0, "same"), (0.004, "+0.4%"), (-0.25, "-25%"), (4.2, "+420%"),
     (9, "x10"), (263.4, "x264"), (8998, "x8999"), (19999, "x20k"), (2.5e6, "x2.5M")],
)  # fmt: skip
def test_changes_are_short(change: float | None, text: str) -> None:
    assert words.change(change) == text


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [("installs", 0.0, "0/s"), ("installs", 64.16, "64.2/s"), ("installs", 9994.0, "9994/s"),
     ("parks", 28416.6, "28.4k/s"), ("idle_share", 0.98432, "98.4%"), ("lifetime_p50", 1.5e6, "1.5ms"),
     ("active_pages", 0.0337, "0.0337"),
     ("active_pages", None, "-"), ("metadata_bytes", 130048.0, "127KiB"), ("lost_events", 2e6, "2M")],
)  # fmt: skip
def test_values_are_short_and_have_units(metric: str, value: float | None, text: str) -> None:
    assert words.value(difference(metric, value, None), value) == text


def test_a_report_has_every_form(tmp_path: Path) -> None:
    report = ComparisonReport(comparison())
    assert json.loads(report.to_json()) == report.to_dict()
    assert len(report.frame()) == len(report.data.differences)
    page = report.to_html(tmp_path / "c.html")
    assert (tmp_path / "c.html").read_text() == page
    assert (tmp_path / "c.html").stat().st_mode & 0o777 == 0o600
    assert "duplicate_installs" in report._repr_html_()
    assert "<b>[bold]" not in ComparisonReport(odd_names())._repr_html_()
    assert str(report).startswith("binder pages")


def test_the_plot_draws_what_has_an_interval() -> None:
    frame = comparison().frame()
    ax = ComparisonReport(comparison()).plot()
    drawn = [label.get_text() for label in ax.get_yticklabels()]
    expected = frame[(frame["ratio"] > 0).fillna(False) & frame["ratio_low"].notna()]
    assert [label.split(",")[0] for label in drawn] == expected["metric"].tolist()
    low, high = ax.get_xlim()
    assert low < 0.172 / 0.984
    assert high > 1.41
    assert "interval" in ax.get_xlabel()
    empty = replace(comparison(), differences=())
    assert "no data" in ComparisonReport(empty).plot().texts[0].get_text()


@pytest.mark.checkout
def test_every_metric_is_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "compare.md").read_text()
    for metric in METRICS:
        names = (f"{metric.duration}_", metric.name[-3:]) if metric.duration else (metric.name,)
        assert all(f"`{name}`" in text for name in names), metric.name

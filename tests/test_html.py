"""The HTML report: its words against golden files, its structure, and that nothing of a recording can act in it.

`UPDATE_GOLDEN=1 pytest tests/test_html.py` writes the golden files anew; look at the difference before you keep it.
What a browser makes of it is tested in tests/browser.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from binder_observe.analysis.names import printable
from binder_observe.analysis.report import Finding
from binder_observe.events import Kind
from binder_observe.history import History, collect
from binder_observe.reports import html
from binder_observe.reports.html.cells import share
from binder_observe.reports.html.page import MOST_ROWS
from tests.build import META, Row, attach, batch, found, install, mapped, park, reclaim, release, reuse, row
from tests.pages import Page, read

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parent / "golden"
MS = 1_000_000
DETACH = row(2000 * MS, Kind.DETACH, alloc=0)
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "$x^2$ {{ 7*7 }}",
    "\x1b[31mred\n\x00",
    "]]>-->",
)


def observed(*rows: Row | list[Row], source: str = "simulated") -> History:
    return collect(replace(META, source=source), [batch(*rows)])  # type: ignore[arg-type]


def two_processes() -> History:
    return observed(
        attach(), mapped(254), row(0, Kind.PROCESS, alloc=0, task=100, name="system_server"),
        found(254, alloc=2, ts=5 * MS), row(6 * MS, Kind.SNAPSHOT_HIGH, 9, alloc=2),
        install(10 * MS, 0), install(11 * MS, 1, task=201), install(12 * MS, 1, task=202), park(50 * MS, 0),
        park(60 * MS, 1), reuse(70 * MS, 0), park(90 * MS, 0), reclaim(500 * MS, 0), park(510 * MS, 3, alloc=2),
        install(520 * MS, 0), row(530 * MS, Kind.ALLOC_PAGE_START, 5), park(540 * MS, 0, task=200),
        mapped(62, alloc=3, ts=600 * MS), install(610 * MS, 0, alloc=3), release(700 * MS, alloc=3, parks=(0,)), DETACH,
    )  # fmt: skip


def odd_names() -> History:
    rows: list[Row | list[Row]] = [attach()]
    for i, name in enumerate(HOSTILE):
        owner, sender, alloc = 100 + i, 200 + i, i + 1
        rows += [
            row(0, Kind.MMAP, 4, alloc=alloc, task=owner, name=name),
            row(0, Kind.PROCESS, alloc=0, task=owner, name=name),
            row(0, Kind.PROCESS, alloc=0, task=sender, name=name),
            install((i + 1) * MS, 0, alloc=alloc, task=sender),
            park((i + 1) * MS + 500, 0, alloc=alloc, task=owner),
        ]
    return observed(*rows, reclaim(20 * MS, 0), DETACH)


def skipped_pages() -> History:
    return observed(
        attach(), mapped(62), install(10 * MS, 0), park(20 * MS, 0), install(11 * MS, 1), park(21 * MS, 1),
        [row(30 * MS + i, Kind.LRU_SKIP_MM_GONE) for i in range(7)], row(31 * MS, Kind.LRU_SKIP_OTHER, 1),
        reclaim(40 * MS, 1), DETACH,
    )  # fmt: skip


CASES: dict[str, Callable[[], History]] = {
    "skipped_pages": skipped_pages,
    "two_processes": two_processes,
    "empty": lambda: observed(attach(), row(5 * MS, Kind.DETACH, alloc=0)),
    "nothing_at_all": lambda: observed(),
    "one_event": lambda: observed(attach(), mapped(), row(5 * MS, Kind.ALLOC_PAGE_START)),
    "only_left_truncated": lambda: observed(attach(), found(), park(MS, 0), reclaim(2 * MS, 1)),
    "full_of_losses": lambda: observed(
        attach(), mapped(), [row(i * MS, Kind.LOST, i + 1) for i in range(9)], install(10 * MS),
        row(11 * MS, Kind.LOST, 3), reclaim(12 * MS, 2),
    ),
    "odd_names": odd_names,
}  # fmt: skip


@cache
def text(name: str) -> str:
    return html.render(CASES[name]())


def page(name: str) -> Page:
    return read(text(name))


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    words = page(name).words()
    path = GOLDEN / f"{name}.html.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(words)
    assert words == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_is_well_formed(name: str) -> None:
    found_page = page(name)
    assert not found_page.errors
    assert len(found_page.ids) == len(set(found_page.ids))
    assert found_page.references <= set(found_page.ids)
    assert found_page.headings[0] == 1
    assert all(b - a <= 1 for a, b in zip(found_page.headings, found_page.headings[1:], strict=False))
    assert found_page.elements["html"][0]["lang"] == "en"
    for svg in found_page.elements.get("svg", []):
        assert svg["role"] == "img"
        assert svg["aria-labelledby"] in found_page.ids


@pytest.mark.parametrize("name", CASES)
def test_needs_nothing_but_itself(name: str) -> None:
    found_page = page(name)
    for tag, elements in found_page.elements.items():
        for attributes in elements:
            for attribute in ("src", "href", "srcset", "action", "poster", "data"):
                assert attributes.get(attribute, "#").startswith(("#", "data:")), f"{tag} {attribute}"
    assert not re.search(r"https?:|@import|url\((?!#)", text(name))


@pytest.mark.parametrize("name", CASES)
def test_only_our_script_may_run(name: str) -> None:
    found_page = page(name)
    (script,) = found_page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [m["content"] for m in found_page.elements["meta"] if m.get("http-equiv") == "Content-Security-Policy"]
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not [a for elements in found_page.elements.values() for e in elements for a in e if a.startswith("on")]


def test_names_are_words_and_nothing_else() -> None:
    found_page = page("odd_names")
    assert "img" not in found_page.elements
    cells = {cell[0] for cell in found_page.tables["table-processes"][1:]}
    assert {printable(name) for name in HOSTILE} == {cell.split("\n")[0] for cell in cells}
    drawn = "\n".join(found_page.drawn)
    assert "<script>alert(1)</script>" in drawn
    assert "$x^2$" in drawn
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text("odd_names"))


def test_tables_say_what_the_report_says() -> None:
    report = two_processes().report
    header, *rows = page("two_processes").tables["table-processes"]
    columns = {"PID": "pid", "active": "active", "lru": "lru", "unknown": "unknown", "high": "high_watermark"}
    columns |= {"installs": "installs", "dup": "duplicate_installs", "fail": "failed_installs", "reuses": "reuses"}
    for name, attribute in columns.items():
        shown = [int(cells[header.index(name)]) for cells in rows]
        assert shown == [getattr(p.state, attribute) for p in report.processes], name


@pytest.mark.parametrize("name", CASES)
def test_every_cell_sorts(name: str) -> None:
    for cell, value in page(name).cells:
        if value is None:
            assert cell == "-" or not re.match(r"[\d.,]+(ns|us|ms|s|%)", cell), f"{cell} would sort by its digits"
        else:
            float(value)


def test_simulated_data_says_so_everywhere() -> None:
    found_page = page("two_processes")
    assert found_page.title.startswith("SIMULATED")
    assert "\n# SIMULATED" in found_page.words()
    assert len(found_page.drawn) > 8
    assert all("SIMULATED: " in picture for picture in found_page.drawn)
    live = html.render(observed(attach(), mapped(), install(MS), park(2 * MS), DETACH, source="live"))
    assert "SIMULATED" not in live


def test_findings_come_first_with_their_numbers() -> None:
    h = two_processes()
    findings = (
        Finding("a", "high", "pid 1 <b>x</b>: 41 % of installs lost a race", 0.41, 0.01, "share of installs", 1, 1),
        Finding("b", "info", "pages lie idle", 12_345.0, 4, "pages"),
    )
    found_page = read(html.render(replace(h, report=replace(h.report, findings=findings))))
    words = found_page.words()
    assert "- high pid 1 <b>x</b>: 41 % of installs lost a race 41% of installs, threshold 1%" in words
    assert "- info pages lie idle 12,345 pages, threshold 4" in words
    assert words.index("## Findings") < words.index("- high") < words.index("- info") < words.index("## Processes")
    assert "Nothing stands out." not in words
    assert "Nothing stands out." in page("empty").words()


@pytest.mark.parametrize(
    ("part", "words"), [(None, "-"), (0, "0%"), (0.004, "0.4%"), (0.41, "41%"), (0.99999, "99.9%"), (1, "100%")]
)
def test_shares_are_short_and_not_rounded_to_all(part: float | None, words: str) -> None:
    assert share(part).text == words


def test_long_tables_are_cut_and_say_so() -> None:
    allocs = range(1, MOST_ROWS + 6)
    many = observed(attach(), *(mapped(1, alloc=a, owner=1000 + a) for a in allocs), DETACH)
    found_page = read(html.render(many))
    assert len(found_page.tables["table-processes"]) == MOST_ROWS + 1
    assert "5 more in the CSV or Parquet export." in found_page.words()


def test_same_data_gives_the_same_bytes() -> None:
    assert html.render(two_processes()) == text("two_processes")


def test_pictures_take_the_colours_of_the_page() -> None:
    svgs = re.findall(r"<svg.*?</svg>", text("two_processes"), re.DOTALL)
    assert svgs
    for svg in svgs:
        assert "currentColor" in svg
        assert not re.search(r"#000000|#010203|#ffffff", svg)


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.1."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_stands_out(theme: int) -> None:
    """WCAG 2.1 asks for 4.5 to 1."""
    pairs = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", text("empty"))
    colours = {name: (light, dark)[theme] for name, light, dark in pairs}
    for ink in ("text", "weak", "link", "high", "medium", "info"):
        for paper in ("back", "panel"):
            low, high = sorted((luminance(colours[ink]), luminance(colours[paper])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, f"{ink} on {paper}"

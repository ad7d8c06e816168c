"""The HTML report in a browser: quiet, alone, as wide as its window, light and dark, and its tables sort."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser
DESKTOP, PHONE = 1280, 390
UNITS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9, "%": 1, "": 1}


def visit(browser: Chrome, path: Path, width: int = DESKTOP, scheme: str = "light") -> None:
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get_log("browser")  # type: ignore[no-untyped-call]  # what is read is gone: only this page's are left
    browser.get_log("performance")  # type: ignore[no-untyped-call]
    browser.get(path.as_uri())
    browser.execute_script("try { localStorage.clear() } catch {}; delete document.documentElement.dataset.theme")


def requested(browser: Chrome) -> set[str]:
    """Everything that was fetched, but what the page holds itself."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]  # type: ignore[no-untyped-call]
    urls = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    return {url for url in urls if not url.startswith("data:")}


def brightness(browser: Chrome, selector: str, property_: str) -> float:
    """0 is black, 1 white, of the first element."""
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    colour = browser.execute_script(script, selector, property_)
    return sum(float(part) for part in re.findall(r"[\d.]+", colour)[:3]) / 3 / 255


@pytest.mark.parametrize("name", ["busy", "empty", "odd_names"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_quiet_and_fits(browser: Chrome, reports: dict[str, Path], name: str, width: int, scheme: str) -> None:
    visit(browser, reports[name], width, scheme)
    assert requested(browser) == {reports[name].as_uri()}
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    inner, scrolled = browser.execute_script("return [innerWidth, document.scrollingElement.scrollWidth]")
    assert inner == width
    assert scrolled <= width
    dark = scheme == "dark"
    assert (brightness(browser, "body", "backgroundColor") < 0.5) == dark
    assert (brightness(browser, "body", "color") > 0.5) == dark
    if name == "busy":
        assert (brightness(browser, "figure svg text", "fill") > 0.5) == dark


def test_page_is_whole_on_paper(browser: Chrome, reports: dict[str, Path]) -> None:
    visit(browser, reports["busy"], scheme="dark")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert brightness(browser, "body", "backgroundColor") == 1
    assert not browser.find_element(By.ID, "theme").is_displayed()
    hidden = "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollHeight > e.clientHeight + 1).length"
    assert browser.execute_script(hidden) == 0
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_theme_button_turns_the_page_over(browser: Chrome, reports: dict[str, Path]) -> None:
    visit(browser, reports["busy"])
    button = browser.find_element(By.ID, "theme")
    assert button.accessible_name == "Dark colours"
    button.click()
    assert brightness(browser, "body", "backgroundColor") < 0.5
    assert brightness(browser, "figure svg text", "fill") > 0.5
    assert button.accessible_name == "Light colours"
    button.click()
    assert brightness(browser, "body", "backgroundColor") > 0.5


def amount(text: str) -> float | None:
    """What a reader takes a cell for: its first line as a number in its unit; None where there is none."""
    words = text.split("\n")[0]
    if words in ("-", ""):
        return None
    parts = re.fullmatch(r"([-\d.,e+]+)(\D*)", words)
    assert parts, f"{words} is no number"
    return float(parts[1].replace(",", "")) * UNITS[parts[2]]


def column(browser: Chrome, table: str, index: int) -> list[str]:
    script = (
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map(r => r.cells[arguments[1]].innerText)"
    )
    cells: list[str] = browser.execute_script(script, table, index)
    return cells


def test_every_column_sorts_both_ways(browser: Chrome, reports: dict[str, Path]) -> None:
    visit(browser, reports["busy"])
    tables: list[str] = browser.execute_script("return [...document.querySelectorAll('table')].map(t => t.id)")
    assert len(tables) >= 7
    units, changed = set(), 0
    for table in tables:
        headers = browser.find_elements(By.CSS_SELECTOR, f"#{table} thead th")
        for index, header in enumerate(headers):
            numbers = "n" in (header.get_attribute("class") or "").split()
            before = column(browser, table, index)
            for order in ("descending", "ascending") if numbers else ("ascending", "descending"):
                browser.execute_script("arguments[0].querySelector('button').click()", header)
                assert header.get_attribute("aria-sort") == order
                after = column(browser, table, index)
                assert sorted(after) == sorted(before)
                changed += after != before
                units |= {re.sub(r"[-\d.,e+]", "", cell.split("\n")[0]) for cell in after} if numbers else set()
                _assert_sorted(after, order, numbers)
            assert len(browser.find_elements(By.CSS_SELECTOR, f"#{table} [aria-sort]")) == 1
    assert {"us", "ms", "s", "%", ""} <= units, "the page has too little to tell units apart by"
    assert changed > 20


def _assert_sorted(cells: list[str], order: str, numbers: bool) -> None:
    if not numbers:
        names = [cell.split("\n")[0] for cell in cells]
        natural = sorted(
            names, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name.lower())]
        )
        assert names == (natural if order == "ascending" else natural[::-1])
        return
    amounts = [amount(cell) for cell in cells]
    known = [a for a in amounts if a is not None]
    assert amounts[len(known) :] == [None] * (len(amounts) - len(known)), "what is not known goes last"
    assert known == sorted(known, reverse=order == "descending")


def test_tables_sort_from_the_keyboard(browser: Chrome, reports: dict[str, Path]) -> None:
    visit(browser, reports["busy"])
    button: Any = browser.find_element(By.CSS_SELECTOR, "#table-processes thead th:nth-child(2) button")
    button.send_keys(Keys.ENTER)
    pids = [int(cell) for cell in column(browser, "table-processes", 1)]
    assert pids == sorted(pids, reverse=True)
    button.send_keys(Keys.SPACE)
    assert [int(cell) for cell in column(browser, "table-processes", 1)] == sorted(pids)


def test_names_do_nothing(browser: Chrome, reports: dict[str, Path]) -> None:
    visit(browser, reports["odd_names"])
    names = column(browser, "table-processes", 0)
    assert any(name.startswith("<script>alert(1)</script>") for name in names)
    assert browser.execute_script("return document.scripts.length") == 1
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    )
    assert browser.execute_script("return window.ran") is None, "the policy of the page lets no other script run"

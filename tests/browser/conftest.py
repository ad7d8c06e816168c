"""A headless Chromium, and pages for it to open."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

import binder_observe as bo
from binder_observe.history import collect
from binder_observe.reports import html
from tests.test_html import CASES

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    """Skipped, with the reason, where there is none; under CI=true that is a failure."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        reason = "no chromium with chromedriver (make test-slow installs them)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    options = ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_argument("--headless=new")
    options.add_argument("--hide-scrollbars")  # as on a phone: they take no room
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's sandbox refuses root
    chrome = Chrome(options=options, service=ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """HTML files by name: a recording with something in every section, and an empty one."""
    directory = tmp_path_factory.mktemp("reports")
    recording = bo.simulate("memory-pressure", duration_s=2)
    texts = {
        "busy": html.render(collect(recording.meta, recording.batches())),
        "empty": html.render(CASES["empty"]()),
        "odd_names": html.render(CASES["odd_names"]()),
    }
    files = {name: directory / f"{name}.html" for name in texts}
    for name, path in files.items():
        path.write_text(texts[name])
    return files

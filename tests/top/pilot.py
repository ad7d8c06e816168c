"""Drives the app by textual's pilot."""

from __future__ import annotations

import asyncio
import html
import re
import time
from collections.abc import Awaitable, Callable

from textual.pilot import Pilot

from binder_observe.top.app import TopApp
from binder_observe.top.collector import Collector
from tests.top.build import FakeSource

LIMIT_S = 60
SMALL = (80, 24)
Script = Callable[[Pilot[None], TopApp], Awaitable[None]]


def run(source: FakeSource, script: Script, size: tuple[int, int] = SMALL) -> Collector:
    collector = Collector(source, lambda: 0, interval_s=0.02)
    drive(TopApp(collector, "a test"), script, size)
    return collector


def drive(app: TopApp, script: Script, size: tuple[int, int] = SMALL) -> None:
    async def main() -> None:
        app.collector.start()
        async with app.run_test(size=size, notifications=True) as pilot:
            await wait(pilot, lambda: app.table.rows)
            await script(pilot, app)

    try:
        asyncio.run(main())
    finally:
        app.collector.stop()
        app.collector.join()


async def wait(pilot: Pilot[None], true: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, "it never came to be\n" + screen(pilot)
        await pilot.pause(0.01)


def screen(pilot: Pilot[None]) -> str:
    """What is seen, line by line."""
    lines: dict[int, str] = {}
    for number, text in re.findall(r'clip-path="url\(#[^)]*line-(\d+)\)">(.*?)</text>', pilot.app.export_screenshot()):
        lines[int(number)] = lines.get(int(number), "") + html.unescape(text).replace("\xa0", " ")
    return "\n".join(lines[number] for number in sorted(lines))


def words(pilot: Pilot[None]) -> str:
    """The same without its lines."""
    return " ".join(screen(pilot).split())


def pids(app: TopApp) -> list[int]:
    return [row.process.state.pid for row in app.table.rows]

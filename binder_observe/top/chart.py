"""A history as a line of blocks, and a mapping as a map of its pages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from binder_observe.rows import State
from binder_observe.top.frame import Point

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
# What a cell that stands for several pages shows: the first of these that one of them is in.
_RANK: Final = (State.ACTIVE, State.LRU, State.UNKNOWN, State.FREE)


def columns(history: Sequence[Point], value: Callable[[Point], int], width: int, span_ns: int) -> list[int | None]:
    """`width` columns of equal time that end at the last point and cover `span_ns`: the highest value that held in
    each, None before the first point."""
    if not history or width <= 0:
        return [None] * max(width, 0)
    begin = history[-1].ts_ns - span_ns
    found: list[int | None] = []
    held: int | None = None
    points = deque(history)
    for i in range(width):
        since, until = begin + span_ns * i // width, begin + span_ns * (i + 1) // width
        highest = held
        while points and (points[0].ts_ns < until or i == width - 1):
            point = points.popleft()
            held = value(point)
            highest = held if highest is None or point.ts_ns <= since else max(highest, held)
        found.append(highest)
    return found


def blocks(values: Sequence[int | None], height: int, top: int) -> list[str]:
    """A chart of `height` lines, the highest first, in which `top` fills them; anything above 0 shows."""
    lines = []
    steps = height * 8
    filled = [0 if not v or not top else max(1, min(steps, round(v * steps / top))) for v in values]
    for line in range(height - 1, -1, -1):
        lines.append("".join(_EIGHTHS[max(0, min(8, f - 8 * line))] for f in filled))
    return lines


def page_map(pages: bytes, width: int, height: int) -> tuple[int, int, list[bytes]]:
    """A map of `height` lines at most: (pages a cell, cells a line, lines of states), in order of page index.

    A line has a power of two of cells, so that its first page is easily named. Where a cell stands for several pages
    it shows the busiest state of them: active before LRU before unknown before free.
    """
    cells = 1
    while cells * 2 <= min(width, 128):
        cells *= 2
    each = 1
    while len(pages) > each * cells * max(height, 1):
        each *= 2
    if each > 1:
        pages = bytes(_busiest(pages[i : i + each]) for i in range(0, len(pages), each))
    return each, cells, [pages[i : i + cells] for i in range(0, len(pages), cells)]


def _busiest(pages: bytes) -> int:
    return next(state for state in _RANK if state in pages)

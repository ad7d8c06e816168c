"""Charts and page maps, against slower ways to make them."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from binder_observe.rows import State
from binder_observe.top.chart import blocks, columns, page_map
from binder_observe.top.frame import Point

HISTORY = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), min_size=1, max_size=30)


@settings(max_examples=50)
@given(HISTORY, st.integers(1, 20), st.integers(1, 40))
def test_a_column_is_the_highest_value_that_held_in_it(steps: list[tuple[int, int]], width: int, step: int) -> None:
    points, now, span = [], 0, width * step
    for wait, value in steps:
        now += wait
        points.append(Point(now, value, 0))
    begin = now - span

    def held(ts: int) -> int | None:
        return next((p.active for p in reversed(points) if p.ts_ns <= ts), None)

    edges = [begin + span * i // width for i in range(width)] + [now + 1]
    slow = []
    for a, b in itertools.pairwise(edges):
        values = [v for v in [held(a), *(p.active for p in points if a <= p.ts_ns < b)] if v is not None]
        slow.append(max(values) if values else None)
    assert columns(points, lambda p: p.active, width, span) == slow


def test_blocks() -> None:
    assert blocks([None, 0, 1, 4, 8], 1, 8) == ["  ▁▄█"]
    assert blocks([0, 1, 100], 1, 100) == [" ▁█"]  # little is not nothing
    assert blocks([0, 4, 8], 2, 8) == ["  █", " ██"]
    assert blocks([0, 0], 1, 0) == ["  "]


@given(st.binary(max_size=300).map(lambda b: bytes(c % 4 for c in b)), st.integers(1, 140), st.integers(1, 8))
def test_a_page_map_has_every_page_and_keeps_to_its_room(pages: bytes, width: int, height: int) -> None:
    each, cells, lines = page_map(pages, width, height)
    assert len(lines) <= height
    assert all(len(line) == cells for line in lines[:-1])
    assert cells <= width
    flat = b"".join(lines)
    if each == 1:
        assert flat == pages
    for i, state in enumerate(flat):
        inside = pages[i * each : (i + 1) * each]
        assert state in inside
        assert (State.ACTIVE in inside) == (state == State.ACTIVE)

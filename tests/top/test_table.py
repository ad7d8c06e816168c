"""The table: order, filter, layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from binder_observe.analysis.names import printable
from binder_observe.events import Kind
from binder_observe.top.frame import Frame
from binder_observe.top.table import COLUMNS, View, arrange, header, lay_out
from binder_observe.top.text import clock, fit, number
from tests.build import attach, found, install, mapped, park, release, row
from tests.top.build import Looks, S, busy, named, three_processes

WHERE = {column.name: i for i, column in enumerate(COLUMNS)}


@pytest.fixture(scope="module")
def frame() -> Frame:
    looks = Looks()
    looks.look(S, *three_processes())
    return looks.look(
        2 * S, busy(S, 5, alloc=2), install(S + 50, 3, alloc=3, task=101),
        mapped(4, alloc=4, owner=103, ts=S + 60), release(S + 70, alloc=4),
    )  # fmt: skip


def pids(frame: Frame, view: View) -> list[int]:
    return [row.process.state.pid for row in arrange(frame, view)]


@pytest.mark.parametrize(
    ("column", "order"),
    [
        ("pid", [100, 101, 102]), ("comm", [100, 101, 102]), ("context", [100, 101, 102]),
        ("active", [100, 101, 102]), ("lru", [101, 100, 102]), ("free", [102, 100, 101]),
        ("installs", [102, 100, 101]), ("reuses", [101, 100, 102]), ("reclaims", [100, 101, 102]),
        ("idle", [101, 100, 102]), ("sender", [102, 100, 101]),
    ],
)  # fmt: skip
def test_each_column_sorts_in_its_natural_order_and_reversed(frame: Frame, column: str, order: list[int]) -> None:
    view = View(sort=WHERE[column])
    assert pids(frame, view) == order
    values = [COLUMNS[WHERE[column]].value(row) for row in arrange(frame, replace(view, reverse=True))]
    assert values == [COLUMNS[WHERE[column]].value(row) for row in arrange(frame, view)][::-1]


def test_the_order_of_the_report_is_by_pages_held(frame: Frame) -> None:
    held = [row.process.state.active + row.process.state.lru for row in arrange(frame, View())]
    assert held == sorted(held, reverse=True)
    assert held[0] > held[-1]
    assert pids(frame, View(reverse=True)) == pids(frame, View())[::-1]


def test_turning_visits_every_column_and_comes_round() -> None:
    view = View().turned(1)
    seen = []
    for _ in COLUMNS:
        seen.append(view.sort)
        view = view.turned(1)
    assert seen == list(range(len(COLUMNS)))
    assert view.sort == 0
    assert View().turned(-1).sort == len(COLUMNS) - 1


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [("", {100, 101, 102}), ("AL", {100}), ("a", {100, 101, 102}), ("10", {100, 101, 102}), ("101", {101}),
     ("01", set()), ("binder bet", {101}), ("nothing", set()), ("  ", {100, 101, 102})],
)  # fmt: skip
def test_a_filter_is_words_in_names_or_the_beginning_of_a_pid(frame: Frame, pattern: str, shown: set[int]) -> None:
    assert set(pids(frame, View(pattern=pattern))) == shown


def test_gone_mappings_are_shown_when_asked_for(frame: Frame) -> None:
    assert set(pids(frame, View(gone=True))) == {100, 101, 102, 103}
    assert "(gone)" in lay_out(frame.rows, 120).line(frame.rows[-1])


@given(st.integers(4, 240))
def test_lines_are_as_wide_as_the_header_and_never_wider_than_the_screen(width: int) -> None:
    looks = Looks()
    odd = looks.look(
        S, attach(), named(100, "\x1b[31mred\x1b[0m"), named(4_194_304, "[bold]一二三四五六"), mapped(),
        row(0, Kind.MMAP, 8, alloc=2, task=4_194_304, name="\u202ebinder\n"), install(1), install(3, alloc=2),
    )  # fmt: skip
    layout = lay_out(odd.rows, width)
    wide = cell_len(header(layout, View(sort=0)))
    for one in odd.rows:
        line = layout.line(one)
        assert cell_len(line) == wide
        assert line.isprintable()
    assert wide <= width or len(layout.widths) == 1


def test_every_column_has_room_in_80_cells_with_the_longest_numbers() -> None:
    looks = Looks()
    frame = looks.look(S, attach(), named(4_194_304, "a" * 15), found(4), mapped(254, alloc=2, owner=4_194_304))
    layout = lay_out(frame.rows, 80)
    assert len(layout.widths) == len(COLUMNS)
    assert header(layout, View()).split() == [column.short for column in COLUMNS]


def test_the_arrow_stands_at_the_sorted_title() -> None:
    for width in (80, 120):
        layout = lay_out((), width)
        for i, title in enumerate(layout.titles):
            line = header(layout, View(sort=i))
            arrow = "▲" if COLUMNS[i].is_text or COLUMNS[i].name == "pid" else "▼"
            assert f"{title}{arrow}" in line or f"{arrow}{title}" in line
            assert layout.column_at(line.index(title)) == i


def test_a_click_beyond_the_columns_is_none() -> None:
    assert lay_out((), 80).column_at(1000) is None


def test_a_sender_without_a_name_is_a_pid_and_nobody_is_a_dash() -> None:
    looks = Looks()
    frame = looks.look(S, attach(), found(4), park(5), mapped(4, alloc=2, owner=101), install(6, alloc=2, task=7))
    assert {r.process.state.alloc: COLUMNS[WHERE["sender"]].cell(r) for r in frame.rows} == {1: "-", 2: "7"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (0.04, "0"), (0.3, "0.3"), (9.96, "10"), (12.4, "12"), (9999, "9999"), (9999.6, "10.0k"),
     (12345, "12.3k"), (99960, "100k"), (999_600, "1.0M"), (1.5e9, "1.5G"), (5e15, "5000T")],
)  # fmt: skip
def test_numbers_take_five_cells(value: float | None, text: str) -> None:
    assert number(value) == text
    assert len(text) <= 5


def test_times() -> None:
    assert [clock(n * S // 10) for n in (0, 72, 610, 37230)] == ["0:00.0", "0:07.2", "1:01.0", "1:02:03"]


@given(st.text(max_size=20), st.integers(1, 20), st.booleans())
def test_fitting_is_exact(text: str, width: int, right: bool) -> None:
    shown = printable(text)
    assert cell_len(fit(shown, width, right=right)) == width
    if cell_len(shown) <= width:
        assert fit(shown, width, right=right).strip() == shown.strip()


def test_a_name_is_cut_in_its_middle() -> None:
    assert fit("example.app-11", 9) == "exam…p-11"

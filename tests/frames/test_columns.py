"""What holds for every frame, and the columns that they share."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from binder_observe import frames
from binder_observe.events import Kind
from binder_observe.frames.columns import comm_of, keys, names_of, places, ratio, task
from binder_observe.history import History, collect
from binder_observe.rows import Ended
from tests.build import META, Row, attach, batch, found, install, mapped, park, reclaim, release, reuse, row

MS = 1_000_000

OF_A_HISTORY: dict[str, Callable[[History], pd.DataFrame]] = {
    name: getattr(frames, name) for name in frames.__all__
    if name.startswith("df_") and next(iter(inspect.signature(getattr(frames, name)).parameters)) == "h"
}  # fmt: skip


def history(*rows: Row | list[Row]) -> History:
    return collect(META, [batch(*rows)])


def busy() -> History:
    return history(
        attach(), row(0, Kind.PROCESS, alloc=0, task=100, name="system_server"),
        row(0, Kind.PROCESS, alloc=0, task=300, name="kswapd0"), mapped(8), found(4, ts=5, alloc=2),
        mapped(4, ts=6, alloc=3, owner=101), install(10, 0), park(20, 0), reuse(30, 0), park(40, 0),
        reclaim(60 * MS, 0), install(61 * MS, 0), install(62 * MS, 1, alloc=3), install(62 * MS + 2, 1, alloc=3),
        park(63 * MS, 2, alloc=2), row(64 * MS, Kind.LOST, 3, alloc=2), release(70 * MS, alloc=3, parks=(1,)),
        row(100 * MS, Kind.DETACH, alloc=0),
    )  # fmt: skip


SPARSE = {
    "nothing at all": lambda: collect(META, []),
    "an end without events": lambda: history(attach(), row(5, Kind.DETACH, alloc=0)),
    "one event": lambda: history(attach(), mapped(), row(5, Kind.ALLOC_PAGE_START)),
    "only left-truncated pages": lambda: history(attach(), found(), park(5), reclaim(9, 1)),
    "full of losses": lambda: history(
        attach(), mapped(), [row(i, Kind.LOST, i) for i in range(1, 9)], install(10), row(20, Kind.LOST, 3, alloc=0)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_A_HISTORY)
@pytest.mark.parametrize("case", SPARSE)
def test_little_data_gives_the_same_columns(name: str, case: str) -> None:
    full, sparse = OF_A_HISTORY[name](busy()), OF_A_HISTORY[name](SPARSE[case]())
    assert sparse.columns.tolist() == full.columns.tolist()
    assert sparse.dtypes.astype(str).tolist() == full.dtypes.astype(str).tolist()
    assert sparse.index.equals(pd.RangeIndex(len(sparse)))


@pytest.mark.parametrize("name", OF_A_HISTORY)
def test_docstrings_name_every_column(name: str) -> None:
    text = inspect.getdoc(OF_A_HISTORY[name]) or ""
    assert [column for column in map(str, OF_A_HISTORY[name](busy())) if column not in text] == []


def test_comm_columns_can_be_compared() -> None:
    lives = frames.df_lifetimes(busy())
    assert not (lives["comm"] == lives["ender_comm"]).any()
    assert (lives["ender_comm"] == "kswapd0").any()


def test_keys() -> None:
    found_keys = keys(busy(), np.array([3, 1, 3]))
    assert found_keys["pid"].tolist() == [101, 100, 101]
    assert pd.Series(found_keys["comm"]).isna().tolist() == [True, False, True]
    assert found_keys["comm"][1] == "system_server"
    assert found_keys["context"].tolist() == ["binder"] * 3
    assert found_keys["alloc"].tolist() == [3, 1, 3]


def test_a_task_of_number_0_is_unknown() -> None:
    columns = task(busy(), "sender", np.array([0, 100, 7], dtype=np.uint32))
    assert pd.Series(columns["sender_pid"]).isna().tolist() == [True, False, False]
    assert pd.Series(columns["sender_comm"]).isna().tolist() == [True, False, True]
    assert columns["sender_comm"][1] == "system_server"
    assert pd.isna(comm_of(history(attach()), np.array([5]))).all()


def test_places_in_any_order() -> None:
    assert places(np.array([7, 2, 9]), np.array([9, 9, 7, 2])).tolist() == [2, 2, 0, 1]
    assert places(np.array([], dtype=int), np.array([], dtype=int)).tolist() == []


def test_names_and_ratios() -> None:
    assert names_of(np.array([2, 0]), (Ended.ALIVE, Ended.RECLAIMED)).tolist() == ["alive", "reclaimed"]
    assert ratio(np.array([1, 0]), np.array([4, 0]))[0] == 0.25
    assert pd.isna(ratio(np.array([1, 0]), np.array([4, 0]))).tolist() == [False, True]

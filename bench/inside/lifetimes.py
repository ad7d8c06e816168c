"""Events to lifetimes, once with each tool."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.measure import timed
from bench.peers import with_dict, with_duckdb, with_polars
from bench.peers.lives import LIVES, table
from bench.streams import repeated
from binder_observe.events import COLUMNS, EventBatch, concat
from binder_observe.tracker import PageTracker


def tracker(scenario: str, events: int, answer: str | None, spans: bool) -> dict[str, Any]:
    batches = list(repeated(scenario, events))
    tracked = PageTracker(spans=spans)
    with timed() as took:
        lives = [tracked.update(batch).lives for batch in batches]
        lives.append(tracked.alive())
    assert not tracked.unexplained(), tracked.unexplained()
    _save(answer, np.concatenate(lives))
    return {"cpu_s": took.cpu_s, "events": sum(map(len, batches))}


def duckdb(scenario: str, events: int, answer: str | None) -> dict[str, Any]:
    stream = _arrow(concat(repeated(scenario, events)))
    connection = with_duckdb.connect(threads=1)
    connection.execute("CREATE TABLE events AS FROM stream")
    with timed() as took:
        lives = with_duckdb.lives(connection, stream["ts_ns"][-1].as_py())
    _save(answer, {name: lives[name].to_numpy() for name in lives.column_names})
    return {"cpu_s": took.cpu_s, "events": len(stream)}


def polars(scenario: str, events: int, answer: str | None) -> dict[str, Any]:
    import polars as pl

    stream = pl.DataFrame(_arrow(concat(repeated(scenario, events)))).rechunk()
    with timed() as took:
        lives = with_polars.lives(stream, stream["ts_ns"][-1])
    _save(answer, {name: lives[name].to_numpy() for name in lives.columns})
    return {"cpu_s": took.cpu_s, "events": len(stream)}


def dict_loop(scenario: str, events: int, answer: str | None) -> dict[str, Any]:
    stream = concat(repeated(scenario, events))
    columns = [getattr(stream, c).tolist() for c in ("ts_ns", "kind", "alloc", "page", "tgid")]
    with timed() as took:
        lives = with_dict.lives(zip(*columns, strict=True), columns[0][-1])
    _save(answer, dict(zip(LIVES.names or (), zip(*lives, strict=True), strict=True)))
    return {"cpu_s": took.cpu_s, "events": len(stream)}


def _arrow(stream: EventBatch) -> Any:
    import pyarrow as pa

    return pa.table({c: getattr(stream, c) for c in COLUMNS})


def _save(path: str | None, columns: Any) -> None:
    if path:
        np.save(path, table(columns))


def same(one: str, other: str) -> dict[str, Any]:
    """Whether two saved answers agree in every row, and how many they have."""
    a, b = np.load(one), np.load(other)
    return {"same": bool(np.array_equal(a, b)), "lives": len(a), "others": len(b)}

"""Page lives in SQL."""

from __future__ import annotations

from typing import Any, Final

# A page's events in order: a stay in a state ends with the next one of the page, and where there is none with the
# release of its mapping or at the end; a life begins after the last reclaim. (A second install of an installed page,
# which lost a race, cuts a stay in use in two, which changes no sum.)
LIVES: Final = """
WITH releases AS (
    SELECT alloc, min(rowid) FILTER (kind = 11) AS release_row, max(ts_ns) FILTER (kind = 12) AS released_ns
    FROM events WHERE kind IN (11, 12) GROUP BY alloc
), stays AS (
    SELECT rowid AS row, ts_ns, kind, alloc, page, tgid, released_ns,
        coalesce(lead(ts_ns) OVER of_page, released_ns, {end_ns}) AS until_ns,
        lead(kind) OVER of_page AS next_kind,
        last_value(CASE kind WHEN 7 THEN rowid END IGNORE NULLS) OVER (of_page ROWS UNBOUNDED PRECEDING) AS reclaim_row
    FROM events LEFT JOIN releases USING (alloc)
    WHERE kind IN (2, 3, 5, 7) AND (release_row IS NULL OR rowid < release_row)
    WINDOW of_page AS (PARTITION BY alloc, page ORDER BY rowid)
)
SELECT
    alloc, page,
    min(ts_ns) AS birth_ns,
    max(until_ns) AS end_ns,
    CASE WHEN bool_or(next_kind = 7) THEN 0 WHEN any_value(released_ns) IS NOT NULL THEN 1 ELSE 2 END AS ended,
    coalesce(sum(until_ns - ts_ns) FILTER (kind != 5), 0)::BIGINT AS active_ns,
    coalesce(sum(until_ns - ts_ns) FILTER (kind = 5), 0)::BIGINT AS lru_ns,
    count(*) FILTER (kind = 3) AS reuses,
    arg_min(tgid, row) AS installer
FROM stays WHERE kind != 7 GROUP BY alloc, page, reclaim_row
"""


# Counts of each process by name and context, in the JSON report's names. Only what its order tells of an event is
# looked up in a window: a second install in a row of an installed page lost a race.
REPORT: Final = """
WITH releases AS (
    SELECT alloc, min(rowid) FILTER (kind = 11) AS release_row, max(ts_ns) FILTER (kind = 12) AS released_ns
    FROM events WHERE kind IN (11, 12) GROUP BY alloc
), mappings AS (
    SELECT alloc, page AS mapping_pages, tgid, name AS context FROM events WHERE kind = 25
), names AS (
    SELECT tgid, arg_max(name, rowid) AS comm FROM events WHERE kind = 26 GROUP BY tgid
), stays AS (
    SELECT ts_ns, kind, alloc, released_ns,
        lead(ts_ns) OVER of_page AS next_ns,
        lag(kind) OVER of_page AS before
    FROM events LEFT JOIN releases USING (alloc)
    WHERE kind IN (2, 3, 5, 7) AND (release_row IS NULL OR rowid < release_row)
    WINDOW of_page AS (PARTITION BY alloc, page ORDER BY rowid)
), counts AS (
    SELECT alloc,
        count(*) FILTER (kind = 2 AND (before IS NULL OR before = 7)) AS installs,
        count(*) FILTER (kind = 2 AND before != 7) AS duplicate_installs,
        count(*) FILTER (kind = 2 AND before = 7) AS refaults,
        count(*) FILTER (kind = 3) AS reuses,
        count(*) FILTER (kind = 5) AS parks,
        count(*) FILTER (kind = 7) AS reclaims,
        count(*) FILTER (next_ns IS NULL AND kind IN (2, 3)) AS active,
        count(*) FILTER (next_ns IS NULL AND kind = 5) AS lru,
        sum(coalesce(next_ns, released_ns, {end_ns}) - ts_ns) FILTER (kind IN (2, 3)) AS active_ns,
        sum(coalesce(next_ns, released_ns, {end_ns}) - ts_ns) FILTER (kind = 5) AS lru_ns
    FROM stays GROUP BY alloc
)
SELECT comm, context, sum(mapping_pages)::BIGINT AS mapping_pages,
    coalesce(sum(columns(counts.* EXCLUDE alloc)), 0)::BIGINT
FROM mappings LEFT JOIN counts USING (alloc) LEFT JOIN names USING (tgid) GROUP BY comm, context
"""


def connect(threads: int) -> Any:
    import duckdb

    connection = duckdb.connect(config={"threads": threads})
    connection.execute("SET enable_progress_bar = false")
    return connection


def lives(connection: Any, end_ns: int) -> Any:
    """From the table `events` (the columns of a recording, its rows in order), as an Arrow table."""
    return connection.sql(LIVES.format(end_ns=end_ns)).to_arrow_table()


def report(path: str, threads: int) -> list[dict[str, Any]]:
    """Counts of each process in a recording, which pyarrow decompresses on the way into a table."""
    import pyarrow as pa

    connection = connect(threads)
    with pa.ipc.open_stream(path) as stream:
        connection.register("stream", stream)
        connection.execute("CREATE TABLE events AS SELECT ts_ns, kind, alloc, page, tgid, name FROM stream")
    [(end_ns,)] = connection.execute("SELECT max(ts_ns) FROM events").fetchall()
    rows: list[dict[str, Any]] = connection.sql(REPORT.format(end_ns=end_ns)).to_arrow_table().to_pylist()
    return rows

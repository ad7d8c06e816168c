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


def connect(threads: int) -> Any:
    import duckdb

    connection = duckdb.connect(config={"threads": threads})
    connection.execute("SET enable_progress_bar = false")
    return connection


def lives(connection: Any, end_ns: int) -> Any:
    """From the table `events` (the columns of a recording, its rows in order), as an Arrow table."""
    return connection.sql(LIVES.format(end_ns=end_ns)).to_arrow_table()

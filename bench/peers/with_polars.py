"""Page lives with Polars."""

from __future__ import annotations

from typing import Any


def lives(events: Any, end_ns: int) -> Any:
    """From a frame of a recording's columns, its rows in order, as a frame."""
    import polars as pl

    page = ["alloc", "page"]
    events = events.lazy().with_row_index("row")
    releases = (
        events.filter(pl.col("kind").is_in([11, 12]))
        .group_by("alloc")
        .agg(
            release_row=pl.col("row").filter(pl.col("kind") == 11).min(),
            released_ns=pl.col("ts_ns").filter(pl.col("kind") == 12).max(),
        )
    )
    # a second install of an installed page, which lost a race, cuts a stay in use in two, which changes no sum
    stays = (
        events.filter(pl.col("kind").is_in([2, 3, 5, 7]))
        .join(releases, on="alloc", how="left", maintain_order="left")
        .filter(pl.col("release_row").is_null() | (pl.col("row") < pl.col("release_row")))
        .with_columns(
            next_ns=pl.col("ts_ns").shift(-1).over(page),
            reclaimed=(pl.col("kind") == 7).shift(-1).over(page),
            life=(pl.col("kind") == 7).cum_sum().over(page),
        )
        .filter(pl.col("kind") != 7)
        .with_columns(until_ns=pl.coalesce("next_ns", "released_ns", pl.lit(end_ns)))
        .with_columns(time_ns=pl.col("until_ns") - pl.col("ts_ns"))
        .with_columns(idle_ns=pl.col("time_ns") * (pl.col("kind") == 5))
    )
    return (
        stays.group_by([*page, "life"])
        .agg(
            birth_ns=pl.col("ts_ns").min(),
            end_ns=pl.col("until_ns").max(),
            reclaimed=pl.col("reclaimed").any(),
            released_ns=pl.col("released_ns").first(),
            time_ns=pl.col("time_ns").sum(),
            lru_ns=pl.col("idle_ns").sum(),
            reuses=(pl.col("kind") == 3).sum(),
            installer=pl.col("tgid").first(),
        )
        .with_columns(
            active_ns=pl.col("time_ns") - pl.col("lru_ns"),
            ended=pl.when("reclaimed").then(0).when(pl.col("released_ns").is_not_null()).then(1).otherwise(2),
        )
        .collect()
    )

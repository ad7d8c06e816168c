"""Small frames with the columns and dtypes of `binder_observe.frames`, of any number of processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

S = 1_000_000_000
BEGIN_NS = 7_000_000 * S  # of a machine that is up for months: ns since boot do not fit a float
WICKED = ("$x^2$", "_under_", "tab\there", "\x1b[31mred", "back\\slash$", "a very long name indeed, yes", "<b>&amp;")


def comm(i: int) -> str:
    return ("system_server", "surfaceflinger", "app_process64")[i % 3] + (f".{i}" if i > 2 else "")


def keys(alloc: Any, names: dict[int, str] | None = None) -> dict[str, Any]:
    """The key columns; alloc n is that of process 1000 + n."""
    alloc = np.asarray(alloc, dtype=np.uint32)
    return {
        "pid": pd.array(1000 + alloc, dtype="UInt32"),
        "comm": pd.Categorical([(names or {}).get(int(a), comm(int(a))) for a in alloc]),
        "context": pd.Categorical(["hwbinder" if a % 4 == 3 else "binder" for a in alloc]),
        "alloc": alloc,
    }


def pids(values: Any) -> Any:
    return pd.array(values, dtype="UInt32")


def per_alloc(n: int) -> Any:
    return np.arange(n, dtype=np.uint32)


def residency(n: int = 1, rows: int = 200, by: str = "alloc") -> pd.DataFrame:
    """A random walk each: `rows` changes over 20 s."""
    rng = np.random.default_rng(n)
    alloc = np.repeat(per_alloc(n), rows)
    ts = np.concatenate([np.sort(rng.integers(0, 20 * S, rows)) for _ in range(n)])
    ts[::rows] = 0
    active = np.concatenate([np.abs(rng.integers(-2, 3, rows).cumsum()) + i for i in range(n)])
    lru = np.concatenate([np.abs(rng.integers(-3, 4, rows).cumsum()) + 2 * i for i in range(n)])
    key = {"alloc": ["pid", "comm", "context", "alloc"], "pid": ["pid", "comm"], "all": []}[by]
    columns = {name: column for name, column in keys(alloc).items() if name in key}
    unknown = np.where(ts < 4 * S, 30, 0)
    counts = {"active": active, "lru": lru, "free": np.maximum(254 - active - lru - unknown, 0), "unknown": unknown}
    return pd.DataFrame({**columns, "ts_ns": BEGIN_NS + ts, **counts})


def survival(n: int = 1, rows: int = 120) -> pd.DataFrame:
    """Exponential curves with a third of the rows censored."""
    parts = []
    for i in range(n):
        rng = np.random.default_rng(i)
        scale_ns = 10.0 ** (rng.random() * 3) * 1e6
        duration = np.concatenate([[0], np.sort(rng.exponential(scale_ns, rows)).astype(np.int64)])
        censored = np.where(np.arange(rows + 1) % 3 == 2, 1, 0)
        ended = 1 - censored
        ended[0] = 0
        at_risk = np.append(rows, np.arange(rows, 0, -1))
        share = np.cumprod(1 - ended / at_risk)
        half = 0.1 * np.sqrt(share * (1 - share)) * 2
        parts.append(pd.DataFrame({
            "pid": pids(np.full(rows + 1, 1000 + i)), "comm": pd.Categorical([comm(i)] * (rows + 1)),
            "duration_ns": duration, "at_risk": at_risk, "ended": ended, "censored": censored, "survival": share,
            "ci_low": share - half, "ci_high": np.minimum(share + half, 1),
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def page_map(pages: int = 62, columns: int = 600) -> tuple[Any, Any]:
    """Every state, a gap, and a mapping that ends before the data does."""
    states = np.zeros((pages, columns), dtype=np.uint8)
    for page in range(pages * 2 // 3):
        states[page, page * 5 :] = 1
        states[page, page * 5 + 40 :: 3] = 2
        states[page, page * 5 + 120 : page * 5 + 180] = 2
    states[:, 300:330] = 3
    states[:, 570:] = 255
    return np.linspace(BEGIN_NS, BEGIN_NS + 20 * S, columns + 1).astype(np.int64), states


def lru(n: int = 1) -> pd.DataFrame:
    i = per_alloc(n).astype(np.int64)
    ends = {"reused": 10 * i + 40, "reclaimed": 3 * i % 50, "released": i % 4 * 5, "still_idle": 7 * i % 40 + 3}
    frame = pd.DataFrame({**keys(i), "parks": sum(ends.values()), **ends, "lost": i % 5})
    share = frame["reused"] / (frame["reused"] + frame["reclaimed"])
    return frame.assign(reuse_share=share.astype("Float64"), refaults=np.uint32(0), idle_page_s=1.5)


def senders(n: int = 1) -> pd.DataFrame:
    """Each process is sent to by itself, by its neighbour, and has pages from before."""
    i = np.repeat(per_alloc(n), 3).astype(np.int64)
    kind = np.tile([0, 1, 2], n)
    sender = pids(np.where(kind == 1, 1001 + i, 1000 + i))
    sender[kind == 2] = pd.NA
    active, lru_ns = (i + 1) * (3 - kind) * 200_000_000, (i + 1) * 700_000_000
    return pd.DataFrame({
        **keys(i), "sender_pid": sender,
        "sender_comm": pd.Categorical([None if k == 2 else comm(a + (k == 1)) for a, k in zip(i, kind, strict=True)]),
        "installs": (100 * (i + 1)).astype(np.uint32), "duplicates": np.uint32(1), "failed": np.uint32(0),
        "held_ns": active + lru_ns, "active_ns": active, "lru_ns": lru_ns, "share_of_installs": 0.5,
        "in_own": kind == 0,
    }).sort_values("held_ns", ascending=False, ignore_index=True)  # fmt: skip


def bursts(n: int = 30) -> pd.DataFrame:
    i = np.arange(n)
    begin = BEGIN_NS + i * 600_000_000
    return pd.DataFrame({
        "burst": i, "begin_ns": begin, "end_ns": begin + 5_000_000, "pages": 1 + i * 37 % 128, "reclaimers": 1,
        "mappings": 2, "how": pd.Categorical(np.array(["kswapd", "mixed", "direct", "other"])[i % 4]),
    })  # fmt: skip


def reclaims(n: int = 3000) -> pd.DataFrame:
    i = np.arange(n)
    return pd.DataFrame({
        "ts_ns": BEGIN_NS + i * i * 2000, **keys(i % 5), "page": (i % 254).astype(np.uint32),
        "reclaimer_pid": pids(np.full(n, 40)), "reclaimer_comm": pd.Categorical(["kswapd0"] * n),
        "how": pd.Categorical(np.array(["kswapd", "direct", "kswapd", "other"])[i // 500 % 4]),
        "idle_ns": pd.array(i * 1000, dtype="Int64"), "burst": i // 100,
    })  # fmt: skip


def installs(n: int = 1, rows: int = 900) -> pd.DataFrame:
    rng = np.random.default_rng(n)
    i = np.arange(rows)
    latency = pd.array((rng.lognormal(9, 1, rows) * np.where(i % 5 == 0, 20, 1)).astype(np.int64), dtype="Int64")
    latency[i % 50 == 1] = pd.NA
    outcome = np.where(i % 50 == 1, "failed", np.where(i % 7 == 0, "duplicate", "installed"))
    return pd.DataFrame({
        "start_ns": pd.array(BEGIN_NS + i * 1000, dtype="Int64"), "end_ns": BEGIN_NS + i * 1000 + 500, **keys(i % n),
        "page": (i % 254).astype(np.uint32), "outcome": pd.Categorical(outcome), "latency_ns": latency,
        "sender_pid": pids(np.full(rows, 1)), "sender_comm": pd.Categorical(["init"] * rows), "tid": np.uint32(1),
        "during_reclaim": i % 5 == 0,
    })  # fmt: skip


def fragmentation(n: int = 1) -> pd.DataFrame:
    i = per_alloc(n).astype(np.int64)
    high = 20 + i * 13 % 230
    touched = high - i * 5 % 20
    return pd.DataFrame({
        **keys(i), "mapping_pages": 254, "high_watermark": high, "touched": touched, "held_end": touched // 2,
        "mean_held": touched / 3, "use": pd.array(touched / high, dtype="Float64"), "hole_pages": high - touched,
        "observed_from_birth": i % 3 < 2,
    })  # fmt: skip


def metadata(rows: int = 300) -> pd.DataFrame:
    i = np.arange(rows)
    return pd.DataFrame({"ts_s": i / 15, "before_bytes": 8128 * (1 + i // 60), "after_bytes": 40 * (i * 7 % 90) + 2032})


def leaks(n: int = 1, pages: int = 12) -> pd.DataFrame:
    alloc = np.repeat(per_alloc(n), pages).astype(np.int64)
    page = np.tile(np.arange(pages), n)
    active = 8 * S + (page * 977 + alloc * 131) % 1000 * 10_000_000
    norm = 40_000_000 + alloc * 9_000_000
    return pd.DataFrame({
        **keys(alloc), "page": page.astype(np.uint32), "since_ns": BEGIN_NS + 20 * S - active, "active_ns": active,
        "start_known": page % 6 > 0, "norm_ns": norm, "times": active / norm, "sender_pid": pids(2000 + page % 7 // 2),
        "sender_comm": pd.Categorical([f"app{p % 7 // 2}" for p in page]),
    })  # fmt: skip


def lives(n: int = 1, rows: int = 300) -> pd.DataFrame:
    """`rows` lives a process: a sixth alive, one in twenty of unknown birth."""
    rng = np.random.default_rng(n)
    alloc = np.repeat(per_alloc(n), rows).astype(np.int64)
    i = np.arange(n * rows)
    length = rng.lognormal(15 + alloc % 4, 1.2).astype(np.int64)
    unknown = i % 20 == 7
    duration = pd.array(length, dtype="Int64")
    duration[unknown] = pd.NA
    ended = np.where(i % 6 == 0, "alive", np.where(i % 41 == 0, "lost", np.where(i % 2 == 0, "reclaimed", "released")))
    return pd.DataFrame({
        **keys(alloc), "page": (i % 254).astype(np.uint32),
        "began": pd.Categorical(np.where(unknown, "before_attach", "installed")), "ended": pd.Categorical(ended),
        "observed_ns": BEGIN_NS + i, "birth_ns": pd.array(BEGIN_NS + i, dtype="Int64"), "end_ns": BEGIN_NS + i + length,
        "duration_ns": duration, "active_ns": length // 2, "lru_ns": length - length // 2, "reuses": np.uint32(0),
    })  # fmt: skip

"""What processes are called in plots. They choose their own names, drawn as they are and never interpreted."""

from __future__ import annotations

from typing import Any

import pandas as pd

LONGEST = 24


def plain(name: object) -> str:
    """A name as one line of printable characters, as long as fits; its `$` starts no mathtext of matplotlib's."""
    text = "".join(c if c.isprintable() else "?" for c in str(name))
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return text.replace("$", r"\$")


def task(pid: Any, comm: Any, unknown: str = "unknown") -> str:
    """`1234 system_server`; `unknown` when there is neither."""
    parts = [] if pd.isna(pid) else [str(int(pid))]
    return " ".join(parts if pd.isna(comm) else [*parts, plain(comm)]) or unknown


def process(row: Any) -> str:
    """The owner of an alloc, from the key columns; the context is named when it is not binder's usual one."""
    name = task(row.pid, getattr(row, "comm", None))
    context = getattr(row, "context", None)
    return name if pd.isna(context) or context == "binder" else f"{name} {plain(context)}"


def processes(frame: pd.DataFrame) -> dict[Any, str]:
    """The label of each alloc in the frame; those that would look the same get their alloc's number."""
    firsts = frame.drop_duplicates("alloc")
    labels: dict[Any, str] = {row.alloc: process(row) for row in firsts.itertuples(index=False)}
    seen = pd.Series(list(labels.values())).value_counts()
    return {alloc: label if seen[label] == 1 else " #".join([label, str(alloc)]) for alloc, label in labels.items()}

"""Cells and columns of tables: how numbers are written, what they sort by. What is not known is `-` and sorts last."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from binder_observe.analysis.names import printable
from binder_observe.history import History
from binder_observe.lifetimes import Quantiles
from binder_observe.reports.html.page import Cell, Columns, column
from binder_observe.reports.terminal import duration
from binder_observe.tracker import AllocState

NONE = Cell("-")


def count(n: Any) -> Cell:
    return NONE if pd.isna(n) else Cell(f"{int(n):,}", int(n))


def pid(number: Any) -> Cell:
    return NONE if pd.isna(number) else Cell(str(int(number)))


def time(ns: Any) -> Cell:
    return NONE if pd.isna(ns) else Cell(duration(int(ns)), int(ns))


def share(part: Any) -> Cell:
    """Of a fraction; what is not all of it is not rounded up to 100 %."""
    if pd.isna(part):
        return NONE
    shown = min(float(part), 0.999) if 0.9995 <= part < 1 else float(part)
    return Cell(f"{100 * shown:.3g}%", float(part))


def figure(value: Any) -> Cell:
    """Three digits, or all before the point; the unit is the column's."""
    if pd.isna(value):
        return NONE
    return Cell(number(value), float(value))


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def page_seconds(page_ns: Any) -> Cell:
    return figure(page_ns / 1e9)


def comm(name: Any, note: str = "") -> Cell:
    return Cell("?" if pd.isna(name) else printable(name), note=note)


def owners(h: History) -> Columns:
    """The first columns of a table whose rows have the key columns."""
    several = repeated(h)
    return [column("Process", lambda row: owner(row, several), number=False), column("PID", pid, "pid")]


def state_owners(h: History) -> Columns:
    """The same of ProcessReports."""
    several = repeated(h)
    return [column("Process", lambda p: owner(p.state, several), number=False), column("PID", Cell, "pid")]


def repeated(h: History) -> frozenset[int]:
    """The allocs that only their number tells from another of the same process and context."""
    seen = Counter((s.pid, s.context) for s in h.allocs)
    return frozenset(s.alloc for s in h.allocs if seen[s.pid, s.context] > 1)


def owner(row: Any, several: frozenset[int]) -> Cell:
    """Of a row with the key columns, or an AllocState; the context is named when it is not the usual one."""
    return comm(row.comm, ", ".join(details(row, several)))


def details(row: Any, several: frozenset[int]) -> list[str]:
    notes = [] if pd.isna(row.context) or row.context == "binder" else [printable(row.context)]
    if row.alloc in several:
        notes.append(f"mapping {row.alloc}")
    if getattr(row, "released", False) is True:
        notes.append("gone")
    return notes


def sender(row: Any) -> Cell:
    """Of a row of `df_senders`."""
    return Cell("install not seen") if pd.isna(row.sender_pid) else comm(row.sender_comm)


def share_of_idle(state: AllocState) -> Cell:
    """Of the page-time that its pages were held."""
    held = state.active_ns + state.lru_ns
    return share(state.lru_ns / held if held else None)


def quantile(name: str, quantiles: Quantiles | None) -> Cell:
    """`name` is p50, p90, p99 or max; the confidence interval, where there is one, stands under it."""
    if quantiles is None:
        return NONE
    cell, interval = time(getattr(quantiles, name) or None), getattr(quantiles, f"{name}_ci", None)
    if interval is None or interval == (None, None):
        return cell
    low, high = (None if ns is None else duration(ns) for ns in interval)
    note = f"≥ {low}" if high is None else f"≤ {high}" if low is None else f"{low} to {high}"
    return Cell(cell.text, cell.value, "" if low == high == cell.text else note)

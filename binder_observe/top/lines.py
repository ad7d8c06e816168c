"""The lines above and below the table, and the pane of one process, as styled text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from binder_observe.analysis.names import printable
from binder_observe.analysis.report import Report
from binder_observe.reports.terminal import duration, quality
from binder_observe.rows import State
from binder_observe.top.chart import blocks, columns, page_map
from binder_observe.top.frame import Frame, Point, Row
from binder_observe.top.saving import Saving
from binder_observe.top.table import sender_name
from binder_observe.top.text import STYLES, SYMBOLS, clock, count, elapsed, fit, number

_LABEL: Final = 18  # cells before a chart
_CHART_LINES: Final = 6  # a chart is no higher
_MARKS: Final = {"live": "", "simulated": "SIMULATED", "imported": "IMPORTED"}


def title(frame: Frame, what: str, flags: Sequence[str], width: int) -> Text:
    """What is observed and for how long on the left, what is unusual about the screen on the right."""
    mark = _MARKS[frame.report.meta.source]
    right = "  ".join(flags)
    passed = clock(frame.now_ns - frame.begin_ns)
    room = max(width - len(right) - len(passed) - (len(mark) + 3 if mark else 0) - 4, 8)
    line = Text(no_wrap=True, style="bold")
    if mark:
        line.append(f" {mark} ", "reverse")
        line.append(" ")
    line.append(fit(printable(what), min(room, len(what))))
    line.append(f"  {passed}")
    line.append(" " * max(width - line.cell_len - len(right), 1))
    return line.append(right, "reverse" if flags else "")


def totals(frame: Frame) -> Text:
    """All live mappings together."""
    live = list(frame.live())
    states = [row.process.state for row in live]
    rates = [row.rates for row in live if row.rates]
    unknown = sum(s.unknown for s in states)
    line = f"{count(len(live), 'mapping')}:  active {sum(s.active for s in states)}  LRU {sum(s.lru for s in states)}"
    line += f"  unknown {unknown}" if unknown else ""
    if rates:
        sums = (sum(r.installs for r in rates), sum(r.reuses for r in rates), sum(r.reclaims for r in rates))
        names = ("install/s", "reuse/s", "reclaim/s")
        line += "    " + "  ".join(f"{name} {number(n)}" for name, n in zip(names, sums, strict=True))
    return Text(line, no_wrap=True, overflow="ellipsis")


def remarks(frame: Frame, saving: Saving | None, pattern: str, shown: int) -> str:
    """What is worth a line of its own; empty when nothing is."""
    parts = []
    if saving:
        parts.append(saved(saving, frame.begin_ns))
    if pattern:
        parts.append(f"filter {printable(pattern)}: {count(shown, 'row')}")
    return "; ".join(parts)


def told(report: Report) -> str:
    """That there is something to read."""
    found = [(len(report.findings), "finding"), (len(report.notes), "note")]
    return ", ".join(count(n, what) for n, what in found if n)


def saved(saving: Saving, begin_ns: int) -> str:
    """What was kept of the observation, and where."""
    if saving.error:
        return f"not saved: {printable(saving.error)}"
    since = "all" if saving.since_ns is None else f"from {clock(saving.since_ns - begin_ns)} on"
    kept = "saved" if saving.done else "saving"
    return f"{kept} {count(saving.events, 'event')} ({since}): {printable(saving.path)}"


def worth(frame: Frame) -> Text:
    """The quality line of every report."""
    report = frame.report
    doubt = bool(report.lost_events or report.unexplained)
    return Text(("! " if doubt else "") + printable(quality(report)), style="bold yellow" if doubt else "")


def detail(row: Row | None, place: str, width: int, height: int, interval_ns: int) -> Text:
    """One process in `height` lines: its pages by state, their map, its course, and what there is room for."""
    if row is None:
        return Text("no process: nothing has mapped binder, or the filter hides it", style="dim")
    s = row.process.state
    name = f"{s.pid} {printable(s.comm)} {printable(s.context)}" + (" (gone)" if s.released else "")
    lines = [_rule(name, place, width), _legend(row)]
    room = height - len(lines)
    charts = 2 if row.history else 0
    least = [] if s.released else _map(row.pages, width, max(room - charts, 1))
    room -= len(least)
    facts = _facts(row, width)[: max(room - charts, 0)]
    room -= len(facts)
    lines += [*least, *facts]
    if charts and room >= charts:
        lines += _charts(row.history, width, min(room // charts, _CHART_LINES), interval_ns)
    return Text("\n", no_wrap=True, end="").join(lines[:height])


def _rule(name: str, place: str, width: int) -> Text:
    line = f"── {name} "
    return Text(fit(line + "─" * max(width - len(line) - len(place) - 4, 1) + f" {place} ──", width), style="bold")


def _legend(row: Row) -> Text:
    s = row.process.state
    line = Text(no_wrap=True, overflow="ellipsis")
    for state, name, pages in (
        (State.ACTIVE, "active", s.active), (State.LRU, "LRU", s.lru), (State.FREE, "free", s.free),
        (State.UNKNOWN, "unknown", s.unknown),
    ):  # fmt: skip
        if pages or state != State.UNKNOWN:
            line.append(SYMBOLS[state], STYLES[state]).append(f" {name} {pages}   ")
    each = "" if s.released else f"of {s.mapping_pages} pages, high {s.high_watermark}"
    return line.append(each)


def _map(pages: bytes, width: int, height: int) -> list[Text]:
    digits = max(len(str(len(pages))), 4)
    each, cells, rows = page_map(pages, width - digits - 1, height)
    if each > 1:  # the line that says so comes out of the same room
        each, cells, rows = page_map(pages, width - digits - 1, max(height - 1, 1))
    lines = []
    for i, states in enumerate(rows):
        line = Text().append(f"{i * cells * each:>{digits}} ", "dim")
        start = 0
        for end in range(1, len(states) + 1):
            if end == len(states) or states[end] != states[start]:
                state = State(states[start])
                line.append(SYMBOLS[state] * (end - start), STYLES[state])
                start = end
        lines.append(line)
    if each > 1:
        lines.append(Text(f"{'':>{digits}} a cell is {each} pages and shows the busiest; Enter: larger", style="dim"))
    return lines[: max(height, 1)]


def _charts(history: Sequence[Point], width: int, height: int, interval_ns: int) -> list[Text]:
    cells = max(width - _LABEL, 1)
    span = max(history[-1].ts_ns - history[0].ts_ns, cells * interval_ns, 1)
    found = {
        State.ACTIVE: columns(history, lambda p: p.active, cells, span),
        State.LRU: columns(history, lambda p: p.lru, cells, span),
    }
    lines = []
    for (state, values), name in zip(found.items(), ("active", "LRU"), strict=True):
        top = max((v for v in values if v is not None), default=0)
        for i, line in enumerate(blocks(values, height, top)):
            label = (f"{name:<6} max {top}", f"last {elapsed(span / 1e9)}")[i] if i < 2 else ""
            lines.append(Text(fit(label, _LABEL)).append(line, STYLES[state]))
    return lines


def _facts(row: Row, width: int) -> list[Text]:
    p, s = row.process, row.process.state
    counts = {
        "installs": s.installs, "duplicate": s.duplicate_installs, "failed": s.failed_installs, "parks": s.parks,
        "reuses": s.reuses, "reclaims": s.reclaims, "refaults": s.refaults,
    }  # fmt: skip
    doubts = {"lost events": s.lost_events, "unexplained": s.unexplained, "suspected leaks": p.leak_suspects}
    lasting = {"life": p.lifetime, "active": p.active_span, "idle": p.idle_span, "refault": p.refault_delay,
               "install": p.install_latency}  # fmt: skip
    held = [f"{sender_name(sender)} {number(sender.held_ns / 1e9)}" for sender in p.senders]
    return [
        *_flow("", [f"{name} {number(n)}" for name, n in counts.items()], width),
        *_flow("", [f"{name} {number(n)}" for name, n in doubts.items() if n], width),
        *_flow("p50/p99:", [f"{name} {duration(q.p50)}/{duration(q.p99)}" for name, q in lasting.items() if q], width),
        *_flow("page-seconds by sender:", held, width),
    ]


def _flow(heading: str, items: Sequence[str], width: int) -> list[Text]:
    """Items that stay whole, on as many lines as they need."""
    found: list[str] = []
    for item in items:
        first = f"{heading} {item}".lstrip()
        if found and cell_len(found[-1]) + 2 + cell_len(item) <= width:
            found[-1] += f"  {item}"
        else:
            found.append(fit(f"  {item}" if found else first, width).rstrip())
    return [Text(line) for line in found]

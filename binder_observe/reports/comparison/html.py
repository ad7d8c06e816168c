"""The comparison as one self-contained HTML file, in the looks of the report's."""

from __future__ import annotations

from typing import Any

from binder_observe.comparison.metrics import METRICS
from binder_observe.comparison.result import CAVEAT, Comparison, Difference, Side
from binder_observe.reports.comparison import words
from binder_observe.reports.comparison.plot import MOST_ROWS, plot_comparison
from binder_observe.reports.comparison.terminal import chosen
from binder_observe.reports.html.figures import picture
from binder_observe.reports.html.page import Cell, Table, column, render_page


def render(c: Comparison) -> str:
    """The whole page."""
    frame = c.frame()
    first = frame[frame["verdict"].isin(("significant", "noise"))]
    drawn = min(len(first), MOST_ROWS)
    figure = picture(
        "simulated" if c.simulated else "live", "changes",
        "Ratio of B to A with its 95 % interval, on a log scale; significant differences in colour, the others grey.",
        lambda ax: plot_comparison(first, ax), height=1.0 + 0.26 * max(drawn, 3),
    )  # fmt: skip
    return render_page(
        "comparison.html.j2",
        title=words.title(c),
        simulated=c.simulated,
        sides=[{"letter": letter, "label": s.label, "facts": _facts(s), "notes": s.notes} for letter, s in _sides(c)],
        warnings=c.warnings,
        checks=[{"outcome": k.outcome, "text": words.check(k, c.overall(k.metric))} for k in c.checks],
        summary=words.summary(c),
        figure=figure if len(first) else None,
        tables=[_table("chosen", "What stands out", chosen(c)), _table("all", "All differences", c.differences)],
        missing=[("A", c.only_in_a), ("B", c.only_in_b)],
        metrics=METRICS,
        explained=(words.LEGEND, words.METHOD, CAVEAT),
        version=c.b.tool_version,
    )


def _sides(c: Comparison) -> tuple[tuple[str, Side], ...]:
    return ("A", c.a), ("B", c.b)


def _facts(s: Side) -> list[dict[str, Any]]:
    """Name, value, and whether it casts doubt on the numbers."""
    filters = "; ".join(f"{k} {', '.join(v)}" for k, v in s.filters.items() if v)
    facts = [
        ("source", s.source, s.source != "live"),
        ("kernel", f"{s.kernel} (allocator {s.generation})", False),
        ("page size", f"{s.page_size:,} bytes", False),
        ("duration", f"{s.duration_s:.3g} s", False),
        *([("only", filters, False)] if filters else []),
        ("mappings", f"{s.mappings:,}", False),
        ("events", f"{s.events:,}", not s.events),
        ("lost", f"{s.lost_events:,}", s.lost_events > 0),
        ("unexplained", f"{s.unexplained:,}", s.unexplained > 0),
        ("ended in order", "yes" if s.complete else "no", not s.complete),
    ]
    return [{"name": name, "value": value, "doubt": doubt} for name, value, doubt in facts]


def _table(name: str, caption: str, rows: tuple[Difference, ...]) -> Table:
    columns = [
        column("Metric", lambda d: Cell(d.metric.name), number=False),
        column("Process", lambda d: Cell(words.who(d) or "all"), number=False),
        column("A", lambda d: _value(d, d.a, d.a_ci)),
        column("B", lambda d: _value(d, d.b, d.b_ci)),
        column("Change", _change),
        column("q", lambda d: Cell("-") if d.q is None else Cell(f"{d.q:.2g}", d.q)),
        column("Verdict", lambda d: Cell(d.verdict), number=False),
    ]
    cells = [[cell(row) for _, cell in columns] for row in rows]
    return Table(f"table-{name}", caption, [c for c, _ in columns], cells, empty="No difference stands out.")


def _value(d: Difference, v: float | None, ci: tuple[float | None, float | None] | None) -> Cell:
    if v is None:
        return Cell("-")
    low, high = (None if bound is None else words.value(d, bound) for bound in ci or (None, None))
    note = "" if ci is None else f"{low or '..'} to {high or '..'}"
    return Cell(words.value(d, v), v, note)


def _change(d: Difference) -> Cell:
    if d.change is None:
        return Cell("-")
    return Cell(words.change(d.change), min(d.change, 1e9), words.interval(d).replace("..", " to "))

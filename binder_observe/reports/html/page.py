"""What HTML pages are put together from: the templates, tables whose cells sort by value, pictures inside the text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Final

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from binder_observe.analysis.names import printable

MOST_ROWS: Final = 200


@dataclass(frozen=True, slots=True)
class Column:
    label: str
    number: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """`value` is what the cell sorts by where its text will not do (units, rounding); `note` stands under the text."""

    text: str
    value: int | float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """`id` is unique on the page; `more` counts the rows left out; `empty` stands in for a table without rows."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    more: int = 0
    empty: str = "None."


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture as SVG text, which its caption names. `id` is unique on the page; `wide` takes the whole width."""

    id: str
    svg: Markup
    caption: str
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """One topic: what there is to say of this observation, then pictures, then tables. `id` is unique on the page."""

    id: str
    heading: str
    text: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()


Rows = Sequence[Any] | pd.DataFrame
Columns = Sequence[tuple[Column, Callable[[Any], Cell]]]


def column(
    label: str, make: Callable[[Any], Cell], name: str = "", *, number: bool = True
) -> tuple[Column, Callable[[Any], Cell]]:
    """A column of what `make` makes of each row's attribute `name` (dots lead further down), or of the whole row."""
    if not name:
        return Column(label, number), make
    get = attrgetter(name)
    return Column(label, number), lambda row: make(get(row))


def table(name: str, caption: str, columns: Columns, rows: Rows, empty: str = "None.") -> Table:
    """Of the first MOST_ROWS of `rows`: sort them so that these matter most. `name` is unique on the page."""
    first = rows.head(MOST_ROWS).itertuples(index=False) if isinstance(rows, pd.DataFrame) else rows[:MOST_ROWS]
    shown = [[cell(row) for _, cell in columns] for row in first]
    more = max(len(rows) - MOST_ROWS, 0)
    return Table(f"table-{name}", caption, [column for column, _ in columns], shown, more, empty)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("binder_observe.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["name"] = printable
    script = _text(environment, "page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals.update(
        script=Markup(script),  # our own files, nothing of a recording's
        style=Markup(_text(environment, "page.css")),
        script_hash=f"sha256-{digest}",
    )
    return environment


def _text(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def render_page(template: str, **context: object) -> str:
    """A page from a template of `reports/templates/`. Whatever is not Markup is escaped."""
    return _environment().get_template(template).render(context)

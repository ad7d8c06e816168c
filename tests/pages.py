"""Reads an HTML page for tests: its words, tables and references, and whether its elements nest."""

from __future__ import annotations

import re
from collections import defaultdict
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input", "hr"}
MARKS = {"h1": "# ", "h2": "## ", "h3": "### ", "li": "- ", "dt": "- ", "dd": "  ", "summary": "", "figcaption": ""}
BLOCKS = {*MARKS, "p", "div", "section", "figure", "button", "nav", "ul", "dl", "header", "footer", "caption"}


class Page(HTMLParser):
    """Filled by `feed`, then read."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []
        self.elements: dict[str, list[dict[str, str]]] = defaultdict(list)  # tag -> attributes of each
        self.ids: list[str] = []
        self.references: set[str] = set()  # ids that something refers to
        self.headings: list[int] = []
        self.tables: dict[str, list[list[str]]] = {}  # by id: rows of cells
        self.cells: list[tuple[str, str | None]] = []  # text and sort value of every td
        self.scripts: list[str] = []
        self.drawn: list[str] = []  # the text of each picture
        self.title = ""
        self._open: list[tuple[str, dict[str, str]]] = []
        self._lines: list[str] = []
        self._line = ""
        self._cell: str | None = None
        self._row: list[str] = []
        self._table: list[list[str]] = []

    def words(self) -> str:
        """The text that a reader sees, a line a block or a row; pictures by their labels."""
        return "\n".join(self._lines) + "\n"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if len(attributes) < len(attrs):
            self.errors.append(f"an attribute twice in {tag}")
        self.elements[tag].append(attributes)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        for name, value in attributes.items():
            self.references |= set(re.findall(r"url\(#([^)]+)\)", value))
            if name == "href" and value.startswith("#"):
                self.references.add(value[1:])
            if name in ("aria-labelledby", "aria-describedby", "for"):
                self.references |= set(value.split())
        if tag not in VOID:
            self._open.append((tag, attributes))
        if tag in BLOCKS:
            self._break(MARKS.get(tag, ""))
        if tag == "svg":
            self._break()
            self._lines.append("[picture]")
            self.drawn.append("")
        elif tag in ("td", "th"):
            self._cell = ""
        elif tag == "tr":
            self._row = []
        elif tag == "table":
            self._table = self.tables[attributes["id"]] = []
        elif re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        elif tag == "small" and self._cell:
            self._cell += "\n"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1][0] != tag:
            self.errors.append(f"</{tag}> where {self._open[-1][0] if self._open else 'nothing'} is open")
            return
        _, attributes = self._open.pop()
        if tag in ("td", "th") and self._cell is not None:
            cell = "\n".join(" ".join(part.split()) for part in self._cell.split("\n") if part.strip())
            self._row.append(cell)
            if tag == "td":
                self.cells.append((cell, attributes.get("data-value")))
            self._cell = None
        elif tag == "tr":
            self._table.append(self._row)
            self._break()
            self._lines.append(" | ".join(cell.replace("\n", " ") for cell in self._row))
        elif tag in BLOCKS:
            self._break()

    def handle_data(self, data: str) -> None:
        inside = [tag for tag, _ in self._open]
        if "script" in inside:
            self.scripts.append(data)
        elif "style" in inside:
            pass
        elif "title" in inside:
            self.title += data
        elif "svg" in inside:
            self.drawn[-1] += data
        elif self._cell is not None:
            self._cell += data
        else:
            self._line += data

    def close(self) -> None:
        super().close()
        self._break()
        self.errors += [f"{tag} is not closed" for tag, _ in self._open]

    def _break(self, mark: str = "") -> None:
        line = " ".join(self._line.split())
        if line.strip(" -#"):
            self._lines.append(line if not self._line.startswith("  ") else f"  {line}")
        self._line = mark


def read(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    return page

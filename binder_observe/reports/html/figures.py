"""matplotlib's pictures as SVG that stands in a page: text stays text, and takes the page's colours, light or dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Final
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from binder_observe.analysis.names import printable
from binder_observe.reports.html.page import Figure

# matplotlib knows no colour that its surroundings choose: a colour that nothing else has stands in for it.
_INK: Final = "#010203"
_STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "binder-observe",  # the same data gives the same bytes
    "font.size": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
    "grid.alpha": 0.15,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.facecolor": "none",
    "legend.edgecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_WIDTH: Final = {False: 4.8, True: 8.4}  # inches; narrow: the letters are still legible on a phone
_LETTERS: Final = 16  # of a legend's text in an inch
_REFERENCE: Final = re.compile(r"(?<=url\(#)[^)]+|(?<=^#)\w{9,}$")  # "#" and 8 digits may be a colour
_DECIMALS: Final = re.compile(r"(\.\d\d)\d+")
_XLINK: Final = "{http://www.w3.org/1999/xlink}href"


def picture(
    source: str,
    name: str,
    caption: str,
    draw: Callable[[Axes], object],
    *,
    title: str | None = None,
    wide: bool = False,
    height: float = 2.6,
) -> Figure:
    """What `draw` draws on the axes it is given.

    `source` is that of the data, for a mark in the title where it was not seen live; `name` is unique on the page;
    `title` stands for the plot's own; `height` in inches, of the plot without its legend.
    """
    with rc_context(_STYLE), warnings.catch_warnings():  # type: ignore[arg-type]  # the stubs list the keys one by one
        # the reader's browser has other fonts than matplotlib
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        canvas = Canvas(figsize=(_WIDTH[wide], height), layout="constrained")
        FigureCanvasSVG(canvas)
        ax = canvas.add_subplot()
        draw(ax)
        words = ax.get_title(loc="left") if title is None else printable(title).replace("$", r"\$")
        mark = "" if source == "live" or words.startswith(source.upper()) else f"{source.upper()}: "
        ax.set_title(mark + words, loc="left")
        _legend_below(ax, canvas)
        out = io.StringIO()
        canvas.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return Figure(name, Markup(_inline(out.getvalue(), name)), caption, wide)


def _legend_below(ax: Axes, canvas: Canvas) -> None:
    """Beside the plot it would take half of a phone's width. The figure grows by as much as the legend needs."""
    legend = ax.get_legend()
    if legend is None:
        return
    texts = [text.get_text() for text in legend.get_texts()]
    handles = [handle for handle in legend.legend_handles if handle is not None]
    heading = legend.get_title().get_text()
    legend.remove()
    columns = max(int(canvas.get_figwidth() * _LETTERS / (max(map(len, texts)) + 7)), 1)
    rows = -(-len(texts) // columns) + bool(heading)
    canvas.set_figheight(canvas.get_figheight() + 0.16 * rows)
    canvas.legend(
        handles, texts, title=heading or None, loc="outside lower left", ncols=columns, frameon=False, alignment="left",
        fontsize=8, title_fontsize=8, columnspacing=1, borderpad=0,
    )  # fmt: skip


def _printable(line: str) -> str:
    return line if line.isprintable() else "".join(c if c.isprintable() else "?" for c in line)


def _inline(text: str, name: str) -> str:
    """Without what an SVG file has and a page has not: namespaces, a size in points, ids that nothing refers to."""
    svg = ElementTree.fromstring("\n".join(map(_printable, text.split("\n"))))
    elements = list(svg.iter())
    for element in elements:
        element.tag = element.tag.rpartition("}")[2]
        if _XLINK in element.attrib:
            # the parser makes a blank of a line's end
            element.set("href", element.attrib.pop(_XLINK).replace(" ", ""))
    # matplotlib numbers the parts of each picture from one: ids get the picture's name before them
    used = {found for e in elements for value in e.attrib.values() for found in _REFERENCE.findall(value)}
    for element in elements:
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        for key, value in element.attrib.items():
            if key == "id":
                value = f"{name}-{value}"
            elif key in ("style", "fill", "stroke"):
                parts = (part for part in value.split("; ") if not part.startswith("font-family"))
                value = "; ".join(parts).replace(_INK, "currentColor").replace("#000000", "currentColor")
            elif key == "d":
                value = _DECIMALS.sub(r"\1", value).replace("  ", " ")
            element.set(key, _REFERENCE.sub(lambda found: f"{name}-{found[0]}", value))
    for parent in elements:
        for child in [c for c in parent if c.tag in ("metadata", "style")]:
            parent.remove(child)
    svg.attrib = {"viewBox": svg.attrib["viewBox"], "role": "img", "aria-labelledby": f"{name}-caption"}
    return ElementTree.tostring(svg, encoding="unicode")

"""Every notebook, executed as it is."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = [pytest.mark.checkout, pytest.mark.slow]
NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    streams = [o for cell in cells for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"]
    assert not streams, streams[0].text
    pictures = sum("image/png" in o.get("data", {}) for cell in cells for o in cell.outputs)
    assert pictures == sum("plot_" in cell.source for cell in cells) > 0


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_holds_calls_and_prose_only(path: Path) -> None:
    """What deserves a definition belongs in the package; outputs belong to whoever runs it."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    assert notebook.cells[0].cell_type == "markdown"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
            defined = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
            assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, defined)]


def test_there_are_three() -> None:
    assert len(NOTEBOOKS) == 3

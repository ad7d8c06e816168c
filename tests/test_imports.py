"""The lines between modules: who may import whom, and what stays out of the quick and the live path."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import binder_observe

PACKAGE = Path(binder_observe.__file__).parent

# One direction: a module may import from its own layer and from those before it.
LAYERS = (
    ("errors", "files"),
    ("events",),
    ("sources", "recording", "simulator", "doctor"),
    ("rows", "transitions", "alloc_state", "open_rows", "tracker"),
    ("lifetimes",),
    ("observation", "audit", "opening", "rotation", "analysis"),
    ("history",),
    ("frames",),
    ("plots",),
    ("comparison",),
    ("reports",),
    ("top",),
    ("exporter",),
    ("commands",),
    ("cli", "api"),
    ("__init__", "__main__"),
)
# `sources` names only the schema and the contract; the tracker knows none of them
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "probes" not in path.parts)


def imported(path: Path) -> set[str]:
    """Top-level parts of the package that a file imports anywhere, and other modules by their first word."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{a.name}" if node.module == "binder_observe" else node.module for a in node.names]
        for name in names:
            parts = name.split(".")
            found.add(".".join(parts[:2]) if parts[0] == "binder_observe" and len(parts) > 1 else parts[0])
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    mine = LEVEL[path.relative_to(PACKAGE).parts[0].removesuffix(".py")]
    for name in imported(path):
        if name.startswith("binder_observe.") and name.split(".")[1] in LEVEL:
            assert LEVEL[name.split(".")[1]] <= mine, f"{path.name} imports {name}"


def test_only_one_file_uses_bcc() -> None:
    users = [p.name for p in modules() if "load_bcc" in p.read_text()]
    assert sorted(users) == ["bcc_loader.py", "doctor.py", "probes.py"]
    assert not [p for p in modules() if "bcc" in imported(p)]


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('\\n'.join(sys.modules))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name.split(".")[0] for name in done.stdout.splitlines()}


def test_help_imports_nothing_heavy() -> None:
    code = "from binder_observe.cli import run\nassert run(['--help']) == 0"
    assert not {"numba", "numpy", "pyarrow", "pandas", "matplotlib", "bcc", "rich"} & loaded_by(code)


def test_live_path_imports_neither_pandas_nor_matplotlib() -> None:
    code = "import binder_observe.sources.ebpf, binder_observe.commands.observe, binder_observe.reports.as_json"
    assert not {"pandas", "matplotlib", "lifelines", "jinja2"} & loaded_by(code)

"""Finds bcc, which comes with the distribution and not from PyPI, from any interpreter.

bcc is pure Python over libbcc.so, so that a virtual environment can use the distribution's. The package
called `bcc` on PyPI is something else.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

from binder_observe.errors import UnsupportedError

_PLACES: Final = (
    "usr/lib/python3/dist-packages",  # Debian, Ubuntu
    "usr/lib/python3*/site-packages",  # Fedora, Arch
    "usr/lib64/python3*/site-packages",
    "usr/local/lib/python3*/dist-packages",  # built from source
    "usr/local/lib/python3*/site-packages",
)
_INSTALL: Final = {
    "debian": "apt install python3-bpfcc",
    "ubuntu": "apt install python3-bpfcc",
    "fedora": "dnf install python3-bcc",
    "rhel": "dnf install python3-bcc",
    "arch": "pacman -S python-bcc",
    "suse": "zypper install python3-bcc",
    "alpine": "apk add py3-bcc",
}


def load_bcc(root: Path = Path("/")) -> ModuleType:
    """The module `bcc`: the interpreter's own, else the distribution's under `root`; also in `sys.modules`.

    Raises UnsupportedError with the command that installs it, or with what libbcc lacks.
    """
    loaded = sys.modules.get("bcc")
    if loaded is not None and hasattr(loaded, "BPF"):
        return loaded
    package = find_bcc(root)
    if package is None:
        raise UnsupportedError("bcc's Python package is not installed", install_command(root))
    # Not through sys.path: the distribution's numpy and others would come with it.
    spec = importlib.util.spec_from_file_location(
        "bcc", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise UnsupportedError(f"bcc in {package} cannot be loaded")
    _forget()  # the other one of that name
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # no libbcc.so, or a Python that this bcc is too old for
        _forget()
        raise UnsupportedError(f"bcc in {package} cannot be loaded: {error}", install_command(root)) from error
    if not hasattr(module, "BPF"):
        _forget()
        raise UnsupportedError(f"bcc in {package} has no class BPF", install_command(root))
    return module


def find_bcc(root: Path = Path("/")) -> Path | None:
    """The directory of the package, without running anything in it."""
    return next((package for package in _candidates(root) if (package / "libbcc.py").is_file()), None)


def install_command(root: Path = Path("/")) -> str | None:
    """How this distribution installs bcc, None where that is unknown."""
    return next((_INSTALL[name] for name in distribution(root) if name in _INSTALL), None)


def distribution(root: Path = Path("/")) -> list[str]:
    """What os-release says this is, then what it says this is like: `["ubuntu", "debian"]`."""
    try:
        lines = (root / "etc/os-release").read_text(errors="replace").splitlines()
    except OSError:
        return []
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return " ".join(values.get(key, "").strip("\"'") for key in ("ID", "ID_LIKE")).split()


def _candidates(root: Path) -> Iterator[Path]:
    if root == Path("/"):
        try:
            spec = importlib.util.find_spec("bcc")
        except (ImportError, ValueError):  # ValueError: somebody put a module without spec there
            spec = None
        if spec is not None:
            yield from (Path(place) for place in spec.submodule_search_locations or ())
    for pattern in _PLACES:
        newest_first = sorted(root.glob(pattern), key=_version, reverse=True)
        yield from (place / "bcc" for place in newest_first)


def _version(place: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", place.parent.name)]


def _forget() -> None:
    for name in [name for name in sys.modules if name == "bcc" or name.startswith("bcc.")]:
        del sys.modules[name]

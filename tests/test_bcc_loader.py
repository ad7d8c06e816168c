"""bcc is found wherever the distribution put it, and never taken for the other package of that name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from binder_observe.errors import UnsupportedError
from binder_observe.sources import bcc_loader
from binder_observe.sources.bcc_loader import find_bcc, install_command, load_bcc

BCC = "from .libbcc import lib\nfrom .version import __version__\nclass BPF:\n    made_by = lib\n"


@pytest.fixture(autouse=True)
def modules() -> Iterator[None]:
    """Each test starts and ends without any bcc."""
    kept = {name: m for name, m in sys.modules.items() if name == "bcc" or name.startswith("bcc.")}
    bcc_loader._forget()
    yield
    bcc_loader._forget()
    sys.modules.update(kept)


def install(directory: Path, init: str = BCC, version: str = "0.26.0") -> Path:
    package = directory / "bcc"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(init)
    (package / "libbcc.py").write_text("lib = 'libbcc'\n")
    (package / "version.py").write_text(f"__version__ = {version!r}\n")
    return package


@pytest.mark.parametrize(
    "place",
    [
        "usr/lib/python3/dist-packages",
        "usr/lib/python3.13/site-packages",
        "usr/lib64/python3.12/site-packages",
        "usr/local/lib/python3.11/dist-packages",
    ],
)
def test_found_where_distributions_put_it(tmp_path: Path, place: str) -> None:
    package = install(tmp_path / place)
    (tmp_path / place / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    before = list(sys.path)
    bcc = load_bcc(tmp_path)
    assert bcc.BPF.made_by == "libbcc"
    assert bcc.__version__ == "0.26.0"
    assert sys.modules["bcc"] is bcc is load_bcc(tmp_path)
    assert sys.modules["bcc.libbcc"].__file__ == str(package / "libbcc.py")
    assert sys.path == before


def test_the_newest_python_first(tmp_path: Path) -> None:
    for version in ("3.9", "3.13", "3.12"):
        install(tmp_path / f"usr/lib/python{version}/site-packages", version=version)
    assert load_bcc(tmp_path).__version__ == "3.13"


def other_package(directory: Path) -> None:
    """Like the one on PyPI: the name and nothing else."""
    (directory / "bcc").mkdir(parents=True)
    (directory / "bcc" / "__init__.py").write_text("print('junk')\nimport sys\nsys.junk = True\n")


def test_the_other_package_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other_package(tmp_path / "venv")
    package = install(tmp_path / "distribution")
    monkeypatch.syspath_prepend(tmp_path / "venv")
    monkeypatch.setattr(bcc_loader, "_PLACES", (str(tmp_path / "distribution").lstrip("/"),))
    assert find_bcc() == package
    assert load_bcc().__file__ == str(package / "__init__.py")
    assert not hasattr(sys, "junk")
    assert capsys.readouterr().out == ""


def test_the_interpreters_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = install(tmp_path / "venv")
    monkeypatch.setattr(bcc_loader, "_PLACES", (str(tmp_path / "distribution").lstrip("/"),))
    install(tmp_path / "distribution")
    monkeypatch.syspath_prepend(tmp_path / "venv")
    assert load_bcc().__file__ == str(package / "__init__.py")


def test_the_other_package_was_loaded_before(tmp_path: Path) -> None:
    install(tmp_path / "usr/lib/python3/dist-packages")
    sys.modules["bcc"] = ModuleType("bcc")
    sys.modules["bcc.libbcc"] = ModuleType("bcc.libbcc")
    assert load_bcc(tmp_path).BPF.made_by == "libbcc"


def test_a_module_without_spec_is_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    sys.modules["bcc"] = ModuleType("bcc")  # find_spec() raises ValueError for it
    monkeypatch.setattr(bcc_loader, "_PLACES", ())
    with pytest.raises(UnsupportedError, match="not installed"):
        load_bcc()


@pytest.mark.parametrize(
    ("os_release", "command"),
    [
        ("ID=debian\n", "apt install python3-bpfcc"),
        ('NAME="x"\nID=linuxmint\nID_LIKE="ubuntu debian"\n', "apt install python3-bpfcc"),
        ("ID=fedora\n", "dnf install python3-bcc"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install python3-bcc"),
        ("ID_LIKE=arch\nID=manjaro\n", "pacman -S python-bcc"),
        ("ID=plan9\n", None),
        (None, None),
    ],
)
def test_not_installed(tmp_path: Path, os_release: str | None, command: str | None) -> None:
    if os_release is not None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/os-release").write_text(os_release)
    with pytest.raises(UnsupportedError, match="bcc's Python package is not installed") as raised:
        load_bcc(tmp_path)
    assert raised.value.remedy == command == install_command(tmp_path)
    assert raised.value.exit_status == 3
    assert "bcc" not in sys.modules


@pytest.mark.parametrize(
    ("init", "words"),
    [
        ("from . import libbcc\nraise OSError('libbcc.so.0: cannot open')", "cannot be loaded: libbcc.so.0"),
        ("import distutils_that_is_gone", "No module named 'distutils_that_is_gone'"),
        ("def broken(", "cannot be loaded"),
        ("", "has no class BPF"),
    ],
)
def test_broken(tmp_path: Path, init: str, words: str) -> None:
    install(tmp_path / "usr/lib/python3/dist-packages", init)
    with pytest.raises(UnsupportedError, match=words):
        load_bcc(tmp_path)
    assert not [name for name in sys.modules if name.split(".")[0] == "bcc"]


def test_the_real_one() -> None:
    if find_bcc() is None:
        pytest.skip("bcc is not installed")
    assert load_bcc().BPF.__name__ == "BPF"

"""The unit, as systemd reads it; tests/kernels runs it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ANALYZE = shutil.which("systemd-analyze")

pytestmark = [
    pytest.mark.checkout,
    pytest.mark.slow,
    pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze (make test-slow installs it)"),
]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE
    return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """With a program that is there."""
    text = (ROOT / "docs" / "binder-observe.service").read_text()
    path = tmp_path / "binder-observe.service"
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.M))
    return path


def test_systemd_understands_every_line(unit: Path) -> None:
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_finds_it_little_exposed(unit: Path) -> None:
    done = analyze("security", "--offline=true", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: [\d.]+ (\w+)", done.stdout)
    assert found, done.stderr
    assert found[1] in ("PERFECT", "SAFE", "OK"), done.stdout  # then come MEDIUM, EXPOSED, UNSAFE, DANGEROUS

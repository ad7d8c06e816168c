"""Builds the workload: the program that executes a list of requests (lists/README.md) on real binder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.kernels.errors import KernelError
from tests.kernels.kernels import cache_directory

LISTS: Final = Path(__file__).resolve().parent / "lists"
_SOURCES: Final = Path(__file__).resolve().parent
_FLAGS: Final = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wshadow", "-pthread")


def build(directory: Path | None = None) -> Path:
    """Compiles the workload, unless these very sources are compiled already.

    Args:
        directory: where to; otherwise in the cache.

    Returns:
        The program: `workload [--limit SECONDS] LIST RESULTS`, or `workload --check LIST`.

    Raises:
        KernelError: it cannot be compiled here.
    """
    sources = sorted(_SOURCES.glob("workload*.[ch]"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    directory = directory or cache_directory() / "workload"
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / f"workload-{digest}"
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _compile([path for path in sources if path.suffix == ".c"], program)
    return program


def _compile(sources: list[Path], program: Path) -> None:
    compiler = os.environ.get("CC") or shutil.which("cc")
    if not compiler:
        raise KernelError("There is no C compiler: apt-get install gcc libc6-dev")
    partial = program.with_suffix(".partial")
    # static where the C library allows: it starts fast in a guest
    for linking in (["-static"], []):
        command = [compiler, *_FLAGS, *linking, "-o", str(partial), *map(str, sources)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.returncode:
            partial.rename(program)
            return
    raise KernelError(f"The workload cannot be compiled: {done.stderr.strip()}")

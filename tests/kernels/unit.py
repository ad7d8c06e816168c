"""Runs in a guest: docs/binder-observe.service under a systemd that has nothing else to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.kernels.kernels import cache_directory

SYSTEMD: Final = Path("/lib/systemd/systemd")
PROJECT: Final = Path(__file__).resolve().parents[2]
NAME: Final = "binder-observe.service"
UNIT: Final = PROJECT / "docs" / NAME
_UNITS: Final = Path("/run/units")
_TARGETS: Final = ("sysinit", "basic", "shutdown", "multi-user")
_COMMAND: Final = Path("/usr/local/bin/binder-observe")
# No other units, nothing that makes units, and what it says in systemd.log and on the console.
_ENVIRONMENT: Final = {
    "container": "guest",
    "SYSTEMD_UNIT_PATH": str(_UNITS),
    "SYSTEMD_GENERATOR_PATH": "/nonexistent",
    "SYSTEMD_ENVIRONMENT_GENERATOR_PATH": "/nonexistent",
    "SYSTEMD_LOG_TARGET": "console",
}
# What differs from the unit: where things are, what is expensive here, and somebody who looks over its shoulder.
_HERE: Final = """\
[Service]
ProtectHome=tmpfs
BindReadOnlyPaths={places}
Environment=PYTHONPATH={project} NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES=
StandardOutput=file:{results}/unit.out
StandardError=file:{results}/unit.err
TimeoutStartSec=infinity
Restart=no
ExecStartPre=-{command} doctor --json
ExecStart=
ExecStart={start} --check 0.2
"""


def settings(name: str) -> list[str]:
    """All that the unit says of one setting."""
    return [line.split("=", 1)[1] for line in UNIT.read_text().splitlines() if line.startswith(f"{name}=")]


class Service:
    """The running unit; unit.out has what the doctor said under the unit's rights, unit.err what the service did."""

    def __init__(self, results: Path) -> None:
        (start,) = settings("ExecStart")
        self.url = "http://" + start.split()[-1]
        self._err = results / "unit.err"
        _install()
        _UNITS.mkdir()
        for target in _TARGETS:
            (_UNITS / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        shutil.copy(UNIT, _UNITS)
        places = {Path(place).resolve() for place in (PROJECT, sys.prefix, sys.base_prefix, cache_directory())}
        (_UNITS / f"{NAME}.d").mkdir()
        values = {"project": PROJECT, "places": " ".join(map(str, places)), "results": results, "start": start}
        (_UNITS / f"{NAME}.d" / "here.conf").write_text(_HERE.format(**values, command=_COMMAND))
        namespaces = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--cgroup"]
        with (results / "systemd.log").open("w") as log:
            self._systemd = subprocess.Popen(
                [*namespaces, str(SYSTEMD), "--system", f"--unit={NAME}", "--show-status=false"],
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self._err.read_text() if self._err.exists() else ""

    def main_process(self) -> str:
        """What the kernel says of the service's process."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and b"--prometheus" in (entry / "cmdline").read_bytes():
                return (entry / "status").read_text()
        return ""

    def systemctl(self, *arguments: str) -> str:
        (init,) = Path(f"/proc/{self._systemd.pid}/task/{self._systemd.pid}/children").read_text().split()
        # With its root: the guest's is a directory of the namespace's.
        command = ["nsenter", "-t", init, "-m", "-p", "-C", "-r", "systemctl", "--no-pager", *arguments, NAME]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        return done.stdout + done.stderr

    def end(self) -> None:
        self._systemd.kill()
        self._systemd.wait()


def _install() -> None:
    """As pip would, and with what numba has compiled."""
    _COMMAND.write_text(f'#!/bin/sh\nexec {Path(sys.prefix).resolve()}/bin/python -m binder_observe "$@"\n')
    _COMMAND.chmod(0o755)
    (cache,) = (s.split("=", 1)[1] for s in settings("Environment") if s.startswith("NUMBA_CACHE_DIR="))
    shutil.copytree(os.environ["NUMBA_CACHE_DIR"], cache, dirs_exist_ok=True)


def wait_for(service: Service, words: str, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while words not in service.said:
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True

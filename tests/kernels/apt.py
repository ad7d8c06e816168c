"""apt, for suites other than the machine's own: downloads packages, installs and configures nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.kernels.debian import Package, parse_show
from tests.kernels.errors import KernelError


class Apt:
    """apt with a private list of sources, in a directory of its own."""

    def __init__(self, directory: Path, sources: Iterable[str]) -> None:
        for tool in ("apt-get", "apt-cache"):
            if not shutil.which(tool):
                raise KernelError(f"There is no {tool}: kernels can be fetched on a Debian machine only")
        self._directory = directory
        for name in ("lists/partial", "cache/archives/partial", "parts", "debs"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "sources.list").write_text("".join(f"{source}\n" for source in sources))
        settings = {
            "Dir::Etc::sourcelist": directory / "sources.list",
            "Dir::Etc::sourceparts": directory / "parts",
            "Dir::Etc::preferences": directory / "preferences",
            "Dir::Etc::preferencesparts": directory / "parts",
            "Dir::State::Lists": directory / "lists",
            "Dir::Cache": directory / "cache",
            "Acquire::Retries": 3,
            "Acquire::Languages": "none",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",  # apt's own user cannot write to a private directory
            "APT::Update::Error-Mode": "any",
        }
        configuration = "".join(f'{key} "{value}";\n' for key, value in settings.items())
        (directory / "apt.conf").write_text(configuration)
        self._run("apt-get", "update")

    def show(self, name: str) -> list[Package]:
        """Every version of a package, newest first; none where there is no such package."""
        try:
            return parse_show(self._run("apt-cache", "show", name))
        except KernelError:
            return []

    def download(self, packages: Iterable[tuple[str, str]]) -> list[Path]:
        """Fetches (name, version) pairs; returns the files in their order."""
        paths: list[Path] = []
        for name, version in packages:
            before = set(self._debs())
            self._run("apt-get", "download", f"{name}={version}")
            paths.extend(set(self._debs()) - before)
        return paths

    def _debs(self) -> Iterator[Path]:
        return (self._directory / "debs").glob("*.deb")

    def _run(self, *command: str) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self._directory / "apt.conf"), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            command,
            env=environment,
            cwd=self._directory / "debs",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W: Failed"))]
            reason = lines[0] if lines else "it does not say why"
            raise KernelError(f"{' '.join(command)} failed: {reason} (does apt-get update work here?)")
        return done.stdout

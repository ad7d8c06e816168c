"""What goes wrong around a test on a real kernel, each in one sentence that says what mends it."""

from __future__ import annotations

from pathlib import Path

_TAIL_LINES = 20


class KernelError(Exception):
    """A kernel, or what it takes to fetch and boot one, is missing."""


class GuestError(Exception):
    """A guest did not do what it was booted for. With its results: the ends of its logs."""

    def __init__(self, message: str, results: Path | None = None) -> None:
        super().__init__(message)
        self.results = results

    def __str__(self) -> str:
        text = super().__str__()
        for path in sorted(self.results.glob("*.log")) if self.results else ():
            lines = path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
            text += "\n".join([f"\n--- the end of {path}", *lines])
        return text

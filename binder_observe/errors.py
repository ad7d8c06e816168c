"""The two kinds of failure a user can meet; `cli.main` turns each into one sentence and an exit status."""

from __future__ import annotations


class ObserveError(Exception):
    """Something failed while running (exit status 1). The text is one sentence that says what mends it."""

    exit_status = 1


class UnsupportedError(ObserveError):
    """This machine cannot do it: no root, no binder, no bcc... (exit status 3).

    `remedy` is the command that mends it, when there is one.
    """

    exit_status = 3

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(f"{message}; try: {remedy}" if remedy else message)
        self.remedy = remedy

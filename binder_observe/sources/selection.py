"""Which mappings are observed: what `--pid`, `--name` and `--context` ask for, and which of the kernel's counts."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

COMM_BYTES: Final = 15  # TASK_COMM_LEN without the NUL
CONTEXT_BYTES: Final = 63  # struct context of probes/record.h, without the NUL


@dataclass(frozen=True, slots=True)
class Selection:
    """Mappings whose owner is one of `pids` (as seen by the caller) and named one of `names`, in one of `contexts`.

    What is empty asks for nothing, so that an empty selection has every mapping.
    """

    pids: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.pids or self.names or self.contexts)

    def __str__(self) -> str:
        parts = (("process", self.pids), ("name", self.names), ("context", self.contexts))
        return ", ".join(f"{what} {' or '.join(map(str, values))}" for what, values in parts if values)

    def comms(self) -> list[bytes]:
        """Every name that the kernel may have for one of `names`.

        Of a longer one it has the first 15 bytes, or the last: exec() keeps the first (begin_new_exec(), fs/exec.c),
        and Android gives an app's process the last ones of its own name (AndroidRuntime::setArgv0()).
        """
        found = [os.fsencode(name) for name in self.names]
        return list(dict.fromkeys(cut for name in found for cut in (name[:COMM_BYTES], name[-COMM_BYTES:])))

    def notes(self) -> list[str]:
        """What the kernel cannot tell apart."""
        return [
            f"the kernel keeps {COMM_BYTES} characters of a name: for {name}, every process named"
            f" {os.fsdecode(os.fsencode(name)[:COMM_BYTES])} or {os.fsdecode(os.fsencode(name)[-COMM_BYTES:])} is shown"
            for name in self.names
            if len(os.fsencode(name)) > COMM_BYTES
        ]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which of the kernel's counts are of what is observed.

    Of these owners (pids in the initial namespace) and contexts, None: of all. `named`: owners were selected by their
    names, which the kernel does not print, so nothing can be said of what was not tracked. `complete`: every mapping
    that the kernel has in scope must have been seen.
    """

    pids: Collection[int] | None = None
    contexts: Collection[str] | None = None
    named: bool = False
    complete: bool = True

    def __contains__(self, key: tuple[int, str]) -> bool:
        pid, context = key
        wanted = (self.pids is None or pid in self.pids) and (self.contexts is None or context in self.contexts)
        return wanted and not self.named

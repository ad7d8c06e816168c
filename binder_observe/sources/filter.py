"""Whom the live source lets through, now and later; what the events' pids are in a pid namespace of its own."""

from __future__ import annotations

import os
from typing import Final

from binder_observe.errors import UnsupportedError
from binder_observe.sources import processes
from binder_observe.sources.btf import Btf
from binder_observe.sources.pids import Owners, comm, pidfd
from binder_observe.sources.probes import Probes
from binder_observe.sources.selection import Scope, Selection

_LEAVE_S: Final = 2.0  # as long as the source waits for what an ended process had to be released


class Filter:
    """A selection and its processes; `set()` and `update()` put those into the kernel side's table.

    Raises:
        ObserveError: without `wait`: a pid does not exist or has no binder open.
    """

    def __init__(self, selection: Selection = Selection(), *, wait: bool = False) -> None:  # noqa: B008 - it is frozen
        self.selection = selection
        self.wait = wait
        self.inner = not processes.in_init_namespace()
        self.notes = selection.notes()
        self._owners = Owners(selection.pids, wait=wait, inner=self.inner)

    def process_layout(self, btf: Btf) -> dict[str, int] | None:
        """What `Probes` needs to look processes up; None where that is not asked for, or not possible.

        Raises UnsupportedError when nobody can tell whom the selection means.
        """
        if not self.inner:
            return None
        try:
            return processes.layout(btf)
        except UnsupportedError as error:
            if self.selection.pids:
                raise _no_translation(self.selection.pids[0], error) from error
            self.notes.append(f"senders have no names: this is a pid namespace of its own, and {error}")
            return None

    def set(self, probes: Probes) -> None:
        """Before the probes are attached. Raises ObserveError when a process is gone meanwhile, or cannot be told."""
        known = [*self._owners.initial.values(), *self._owners.find(lambda pid: _initial_pid(probes, pid))]
        missing = [pid for pid in self.selection.pids if pid not in self._owners.initial]
        if missing and not self.wait:
            os.close(pidfd(missing[0]))
            raise _no_translation(missing[0], "the kernel's table of pids has no such process")
        for pid in known:
            probes.add_owner(pid)

    def update(self, probes: Probes) -> None:
        """Who has come or gone since the last time."""
        for pid in self._owners.find(lambda pid: _initial_pid(probes, pid)):
            probes.add_owner(pid)
        for pid in self._owners.leave(_LEAVE_S):
            probes.remove_owner(pid)

    def all_ended(self) -> bool:
        """Whether there were processes of --pid, and all of them have ended."""
        return self._owners.all_ended()

    def name(self, probes: Probes, tgid: int) -> str | None:
        """The name of a process by its pid in the initial namespace; None when it is gone, or cannot be told."""
        if not self.inner:
            return comm(tgid)
        try:
            found = probes.find_process(tgid, inner=False)
        except UnsupportedError:  # what /proc has under that number is another process
            return None
        return found[1] if found else None

    def to_dict(self) -> dict[str, list[str]]:
        """For `Meta.filters`: `pid` in the initial namespace of who is there, `nspid` in ours if that differs."""
        selection, initial = self.selection, self._owners.initial
        found = {
            "pid": [str(initial[pid]) for pid in selection.pids if pid in initial],
            "nspid": [str(pid) for pid in selection.pids] if self.inner else [],
            "name": list(selection.names),
            "context": list(selection.contexts),
        }
        return {what: values for what, values in found.items() if values}

    def scope(self, *, complete: bool) -> Scope:
        """Which of the kernel's own counts are of what is observed now."""
        return Scope(
            pids=tuple(self._owners.initial.values()) if self.selection.pids else None,
            contexts=self.selection.contexts or None,
            named=bool(self.selection.names),
            complete=complete,
        )

    def close(self) -> None:
        self._owners.close()


def _initial_pid(probes: Probes, pid: int) -> int | None:
    try:
        found = probes.find_process(pid, inner=True)
    except UnsupportedError as error:
        raise _no_translation(pid, error) from error
    return found[0] if found else None


def _no_translation(pid: int, why: object) -> UnsupportedError:
    return UnsupportedError(
        f"this is a pid namespace of its own, and which process {pid} is outside of it cannot be told: {why}"
    )

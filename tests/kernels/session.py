"""One boot of one kernel: the installed tool beside the workload, and everything that the tests look at afterwards."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from binder_observe.simulator.random_requests import random_requests
from tests.kernels import guest, kernels, workload

GENERATIONS: Final = {"6.1": "6.1", "6.12": "6.8", "7": "6.14"}  # kernel -> generation of its allocator
TIMEOUT: Final = 2100.0
RANDOM_LISTS: Final = 100  # other ones on each kernel
REQUESTS: Final = 60  # in each
ATTACHES: Final = 12  # into traffic
CHECKPOINTS: Final = ("before_reclaim", "after_reclaim", "after_exit", "after_close", "after_reopen", "end")

PID_MAX: Final = 700
SHORT_LISTS: Final = 18  # one after the other...
SHORT_LIVED: Final = 60  # ...each with so many processes that open binder, call once and end
FEW_LISTS: Final = 5  # after so many the observer's memory is looked at the first time

# What lets an observer come and go beside a list: the list stops where it is told to.
_HOLD: Final = "\ntouch done\nwait leave\n"
_LISTS: Final = ("known", "mixed", "owner", "flood", "filters", "inner", "later", "skips")

ALL: Final = tuple(GENERATIONS)
# scenes/NAME.sh, in this order, and where. What does not depend on the kernel's allocator is seen on one kernel: such
# that all three take about the same time.
SCENES: Final = {
    "doctor": ALL,
    "refused": ("6.1",),
    "attach": ALL,
    "brief": ("6.1",),
    "whole": ALL,
    "rotated": ("6.12",),
    "owner": ALL,
    "named": ALL,
    "namespace": ("6.1",),
    "flood": ALL,
    "long": ("6.12",),
    "lists": ALL,
    "skips": ALL,
    "killed": ALL,
    "watching": ("7",),
}


@dataclass(frozen=True)
class Session:
    """The results of one boot."""

    kernel: str
    generation: str
    results: Path

    def text(self, name: str) -> str:
        return (self.results / name).read_text()

    def status(self, name: str) -> int:
        return int(self.text(f"{name}.status"))

    def json(self, name: str) -> Any:
        return json.loads(self.text(f"{name}.json"))

    def pids(self, name: str) -> dict[str, int]:
        """The processes of a list, by the list's names."""
        found: dict[str, int] = {}
        for line in self.text(f"{name}/log.jsonl").splitlines():
            entry = json.loads(line)
            words = entry["request"].split()
            if words[0] == "open":
                found[words[1]] = entry["pid"]
        return found

    def counted(self, name: str) -> dict[str, int]:
        """How often ftrace saw each tracepoint."""
        return {event: int(n) for event, n in (line.split() for line in self.text(f"{name}.counts").splitlines())}


def run(kernel: str, results: Path) -> Session:
    """Boots `kernel` (a key of GENERATIONS) once; raises GuestError or KernelError."""
    results.mkdir(parents=True)
    shared = results / "guest"
    shared.mkdir()
    lists = results / "lists"
    lists.mkdir()
    scenes = [name for name, where in SCENES.items() if kernel in where]
    text = f"R={shlex.quote(str(shared))} W={shlex.quote(str(workload.build()))}\n"
    text += f"ATTACHES={ATTACHES} PID_MAX={PID_MAX} SHORT_LISTS={SHORT_LISTS} FEW_LISTS={FEW_LISTS}\n"
    text += ". tests/kernels/scenes/functions.sh\n"
    text += "".join(f"SECONDS=0; . tests/kernels/scenes/{name}.sh; echo {name}: $SECONDS s\n" for name in scenes)
    prepare = f"mkdir {shared}/lists\n"
    for seed in range(RANDOM_LISTS):
        text_of_list = random_requests(1000 * list(GENERATIONS).index(kernel) + seed, REQUESTS)
        (lists / f"random{seed:03}.requests").write_text(text_of_list)
    shutil.copy(workload.LISTS / "known.requests", lists / "written.requests")
    prepare += f"cp {lists}/random*.requests {lists}/written.requests {shared}/lists/\n"
    for name in _LISTS:
        (lists / f"{name}.requests").write_text(_with_pauses(name))
        prepare += f"cp {lists}/{name}.requests {shared}/\n"
    (lists / "short.requests").write_text(_short_lived())
    prepare += f"cp {lists}/short.requests {shared}/\n"
    outcome = guest.run(kernels.fetch(kernel), prepare + text, shared, timeout=TIMEOUT)
    outcome.check()
    return Session(kernel, GENERATIONS[kernel], shared)


def _short_lived() -> str:
    """Each maps, gets a reply of three pages, and ends."""
    text = "open server binder\n"
    for n in range(SHORT_LIVED):
        text += f"open short{n} binder\ncall short{n} binder data=5000 reply=9000 as x{n}\nfree x{n}\nexit short{n}\n"
    return text


def _with_pauses(name: str) -> str:
    text = (workload.LISTS / f"{name}.requests").read_text()
    if name in ("mixed", "flood"):
        text += _HOLD
    return text.replace("touch ready", "touch opened\nwait go\n#")

"""What `binder-observe --help` costs."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from statistics import median
from typing import Final

from bench.measure import Run, command, in_turn
from bench.results import Result, ratio, row

ROUNDS: Final = 15
HEAVY: Final = ("bcc", "numba", "numpy", "pyarrow", "pandas", "matplotlib", "scipy", "rich", "textual", "jinja2")
HELP: Final = "import sys; from binder_observe.cli import run; status = run(['--help'])"
PEERS: Final = {
    "perf --help": ["perf", "--help"],
    "bpftrace --help": ["bpftrace", "--help"],
    "trace-cmd record -h": ["trace-cmd", "record", "-h"],
}

WHAT: Final = """
Processor time of the command line before it does anything: `--help`, in turn with an empty Python program and with
tools that people know, where they are installed.
"""


def _quietly(words: list[str]) -> Run:
    """Help may go to stderr, and end with a status of its own."""
    return command(["sh", "-c", '"$@" >/dev/null 2>&1; true', "sh", *words])


def imported() -> list[str]:
    """Which of HEAVY are imported for `--help`."""
    run = command([sys.executable, "-c", f"{HELP}; print(*({{*sys.modules}} & {{*{HEAVY!r}}})); sys.exit(status)"])
    return sorted(run.output.splitlines()[-1].split())


def run(scale: float) -> Result:
    tools = {
        "binder-observe --help": [sys.executable, "-m", "binder_observe", "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
        **{name: words for name, words in PEERS.items() if shutil.which(words[0])},
    }
    runs = in_turn(max(3, round(ROUNDS * scale)), {name: partial(_quietly, words) for name, words in tools.items()})
    rows = [row("start", name, "ms of CPU", [1000 * r.cpu_s for r in found]) for name, found in runs.items()]
    middle = {name: median(r.cpu_s for r in found) for name, found in runs.items()}
    ours = middle["binder-observe --help"]
    loaded = imported()
    ratios = [
        ratio("binder-observe --help", ours, "≤ 0.2", "s of CPU"),
        ratio("heavy modules imported for it", len(loaded), "≤ 0", "modules"),
        *(
            ratio(f"its time, against that of {name}", ours / took)
            for name, took in middle.items()
            if name in ("python -c pass", *PEERS)
        ),
    ]
    notes = [f"Looked for among the modules: {', '.join(HEAVY)}; found: {', '.join(loaded) or 'none'}."]
    return Result("start", "Start", WHAT, rows, ratios, notes)

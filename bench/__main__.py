"""`python -m bench [--scale F] [NAME...]`: runs comparisons, each of which writes its result as soon as it is done, and
writes docs/performance.md.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bench.measure import WORK
from bench.results import DIRECTORY

NAMES: Final = ("start", "sizes", "lifetimes", "reporting", "html", "simulator", "growth", "hot_paths")
GUEST: Final = "guest"  # has many results of its own, from one boot


def main() -> None:
    names = [*NAMES, *([GUEST] if find_spec(f"bench.{GUEST}") else [])]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all, when none is given")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the sizes, to try things out: other than 1, results go to build/"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"no comparison is called {', '.join(sorted(unknown))}")
    directory = DIRECTORY if arguments.scale == 1 else WORK / "results"
    WORK.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or names:
        print(f"{name}...", file=sys.stderr, flush=True)
        begin = time.monotonic()
        _run(name, arguments.scale, directory)
        print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    if arguments.scale == 1:
        subprocess.run([sys.executable, "-m", "bench.report"], check=True)


def _run(name: str, scale: float, directory: Path) -> None:
    if name == GUEST:
        subprocess.run([sys.executable, "-m", f"bench.{GUEST}", "--results", directory], check=True)
    else:
        importlib.import_module(f"bench.{name}").run(scale).write(directory)


if __name__ == "__main__":
    main()

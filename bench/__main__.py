"""`python -m bench [--scale F] [NAME...]`: runs comparisons; each writes its result as soon as it is done."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from typing import Final

from bench.measure import WORK
from bench.results import DIRECTORY

NAMES: Final = ("lifetimes", "reporting", "html", "growth", "hot_paths", "sizes", "simulator", "start")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*NAMES, []], help=f"of {', '.join(NAMES)}")
    parser.add_argument("--scale", type=float, default=1.0, help="of the sizes; other than 1, results go to build/")
    arguments = parser.parse_args()
    directory = DIRECTORY if arguments.scale == 1 else WORK / "results"
    for name in arguments.names or NAMES:
        print(f"{name}...", file=sys.stderr, flush=True)
        begin = time.monotonic()
        path = importlib.import_module(f"bench.{name}").run(arguments.scale).write(directory)
        print(f"{name}: {path}, {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""`python -m bench.guest [--kernel 7] [--rounds N] [--count N]`: boots a guest, compares there, writes results."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.guest import summary
from bench.results import DIRECTORY, machine
from tests.kernels import guest, kernels, workload

TIMEOUT = 3600.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.guest", description=__doc__)
    parser.add_argument("--kernel", default="7", choices=kernels.GENERATIONS)
    parser.add_argument("--rounds", type=int, default=2, help="each tracer's turns")
    parser.add_argument("--count", type=int, default=1000, help="transactions of each of the flood's eight threads")
    parser.add_argument("--results", type=Path, default=DIRECTORY, help="where the results go")
    parser.add_argument("--keep", type=Path, help="where to leave what the guest left; if it is there, read that")
    arguments = parser.parse_args()
    kernel = kernels.fetch(arguments.kernel)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        left = arguments.keep or Path(scratch, "guest")
        if not left.exists():
            words = ["python", "-m", "bench.guest.inside", left.resolve(), workload.build()]
            words += ["--rounds", arguments.rounds, "--count", arguments.count]
            guest.run(kernel, shlex.join(map(str, words)) + "\n", left, timeout=TIMEOUT).check()
        for result in summary.results(left, machine() | _guest(kernel.release)):
            path = result.write(arguments.results)
            print(path, file=sys.stderr)
            for found in result.ratios:
                met = {None: "", True: "met", False: "MISSED"}[found.met]
                print(f"  {found.what}: {found.value:.3g} {found.unit} {found.goal or ''} {met}", file=sys.stderr)


def _guest(release: str) -> dict[str, str]:
    return {
        "guest": f"Linux {release}, two processors in turn, 2 GiB",
        "emulator": f"QEMU {_version('qemu-system-x86_64')}, no hardware virtualisation",
        "bpftrace": _version("bpftrace"),
        "trace-cmd": _version("trace-cmd"),
        "perf": _version("perf"),
    }


def _version(tool: str) -> str:
    done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+[\w.+~-]*", done.stdout + done.stderr)
    return found[0] if found else ""


if __name__ == "__main__":
    main()

"""Numba's compilation: kept in a cache, and over before anything is attached."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Says what the package has compiled (or read from the cache) so far: "module.function: overloads".
COMPILED = """
import sys
from numba.core.dispatcher import Dispatcher

def compiled():
    return {f"{d.__module__}.{d.__name__}": len(d.overloads)
            for name, module in list(sys.modules.items()) if name.startswith("binder_observe")
            for d in vars(module).values() if isinstance(d, Dispatcher)}
"""

# A command whose live source is the simulator; "attached" once it asks for the source.
COMMAND = """
from binder_observe.cli import run
from binder_observe.commands import checking, live
from binder_observe.sources.simulator import SimulatorSource

def attach(*args, **kwargs):
    global before
    before = compiled()
    source = SimulatorSource("memory-pressure", duration_s=0.5)
    source.waiting = False
    return source

live.ebpf_source = attach
live._has_binder = lambda: True
checking.kernel_counts = lambda source, every: None
status = run(sys.argv[1:])
assert status == 0, status
assert before, "nothing was compiled at all"
assert compiled() == before, sorted(compiled().items() ^ before.items())
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--quiet"],
        ["--quiet", "--json", "--interval", "0.01"],
        ["record", "--output", "r.arrows"],
        ["export", "--prometheus", "127.0.0.1:0", "--duration", "0.5", "--quiet"],
    ],
    ids=" ".join,
)
def test_a_live_run_compiles_before_it_attaches(arguments: list[str], tmp_path: Path) -> None:
    words = [sys.executable, "-c", COMPILED + COMMAND, *arguments]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_top_compiles_before_it_attaches() -> None:
    code = """
from binder_observe.top import app, collector
before = compiled()
from binder_observe.analysis.summary import summarize
from binder_observe.observation import Observation
from binder_observe.sources.simulator import SimulatorSource
from binder_observe.top.frame import Frame
source = SimulatorSource("memory-pressure", duration_s=0.5)
observation = Observation(source.meta)
for batch in source.batches():
    observation.feed(batch)
    summarize(observation)
assert before and compiled() == before, sorted(compiled().items() ^ before.items())
"""
    done = subprocess.run([sys.executable, "-c", COMPILED + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_compiled_is_kept() -> None:
    code = """
import importlib, pkgutil
import binder_observe
from numba.core.caching import FunctionCache
for module in pkgutil.walk_packages(binder_observe.__path__, "binder_observe."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
found = [d for name, module in list(sys.modules.items()) if name.startswith("binder_observe")
         for d in vars(module).values() if isinstance(d, Dispatcher)]
assert found
without = {d.__name__ for d in found if not isinstance(d._cache, FunctionCache)}
assert not without, without
"""
    done = subprocess.run([sys.executable, "-c", COMPILED + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""Records what real kernels emit for the lists in `recorded/`, and writes the digests that test_recorded.py holds the
model against.

    python -m tests.simulator.record [--keep DIRECTORY] [GENERATION...]

It boots each kernel in an emulator (a minute or two each), runs the lists there with tests/kernels/workload.c under
ftrace, all ten tracepoints and the entry and return of binder_alloc_deferred_release(), and compares with the model on
the way. Where they differ it says where, and writes nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from binder_observe.events import TABLE
from binder_observe.simulator.request_runner import run_requests
from binder_observe.simulator.requests import load_requests
from tests.kernels import guest, kernels, workload
from tests.simulator.stream import digest, of_ftrace, of_model

RECORDED: Final = Path(__file__).resolve().parent / "recorded"
DIGESTS: Final = RECORDED / "digests.json"
MODEL: Final = {"6.1": "6.1", "6.12": "6.8", "7": "6.14"}  # generation of the model by the kernel that is booted

# The counter is the one trace clock that orders the events of all CPUs.
_SCRIPT: Final = """
T=/sys/kernel/tracing
echo counter > $T/trace_clock
echo 40000 > $T/buffer_size_kb
echo 'p:release binder_alloc_deferred_release' > $T/kprobe_events
echo 'r:released binder_alloc_deferred_release' >> $T/kprobe_events
for event in {events}; do echo 1 > $T/events/binder/$event/enable; done
echo 1 > $T/events/kprobes/enable
for list in {lists}; do
    echo > $T/trace
    {program} $list {results}/$(basename $list .requests) || exit
    cat $T/trace > {results}/$(basename $list .requests)/trace
done
"""


def record(generation: str, lists: Sequence[Path], results: Path) -> dict[str, Any]:
    """Runs the lists on one kernel; its release, and number and digest of the events of each list.

    Raises:
        SystemExit: the model says something else.
    """
    kernel = kernels.fetch(generation)
    script = _SCRIPT.format(
        events=" ".join(row.tracepoint for row in TABLE if row.tracepoint),
        lists=" ".join(map(str, lists)),
        program=workload.build(),
        results=results.resolve(),
    )
    guest.run(kernel, script, results, timeout=3600).check()
    found: dict[str, Any] = {}
    for path in lists:
        out = results / path.stem
        pids = {pid: name for name, pid in json.loads((out / "actors.json").read_text()).items()}
        real = of_ftrace((out / "trace").read_text().splitlines(), pids)
        model = of_model(run_requests(load_requests(path), generation=MODEL[generation]))
        if real != model:
            at = next((i for i, pair in enumerate(zip(real, model, strict=False)) if pair[0] != pair[1]), -1)
            raise SystemExit(f"{kernel.release}, {path.name}, event {at}: {real[at:][:1]}, the model: {model[at:][:1]}")
        found[path.stem] = {"events": len(real), "sha256": digest(real)}
    return {"kernel": kernel.release, "lists": found}


def main(words: Sequence[str]) -> None:
    keep = None
    if words[:1] == ["--keep"]:
        keep, words = Path(words[1]), words[2:]
    with tempfile.TemporaryDirectory() as scratch:
        digests = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
        for generation in words or MODEL:
            results = (keep or Path(scratch)) / generation
            digests[MODEL[generation]] = record(generation, sorted(RECORDED.glob("*.requests")), results)
            DIGESTS.write_text(json.dumps(digests, indent=2, sort_keys=True) + "\n")
            print(f"{generation}: equal")


if __name__ == "__main__":
    main(sys.argv[1:])

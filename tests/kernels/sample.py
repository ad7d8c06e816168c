"""Records lists/sample.requests on a real kernel: `python -m tests.kernels.sample 7 linux-7.3.arrows`.

The recordings in notebooks/recordings were made by this; notebooks and tests read them where no kernel can be booted.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.kernels import guest, kernels, workload
from tests.kernels.session import TIMEOUT

_SCRIPT: Final = """
set -eu
cd {results}
binder-observe record --latency -o sample.arrows >out 2>err &
O=$!
until grep -q 'Hit Ctrl-C' err; do kill -0 $O; sleep 0.1; done
{program} {list} list & L=$!
until [ -e list/done ]; do kill -0 $L; sleep 0.1; done
kill -INT $O
wait $O
touch list/leave
wait $L
"""


def main(kernel: str, target: Path) -> None:
    """Boots `kernel` and moves the recording to `target`, which must not exist."""
    if target.exists():
        raise SystemExit(f"{target} already exists")
    with tempfile.TemporaryDirectory() as directory:
        results = Path(directory)
        words = {"results": results, "program": workload.build(), "list": workload.LISTS / "sample.requests"}
        script = _SCRIPT.format(**{name: shlex.quote(str(word)) for name, word in words.items()})
        guest.run(kernels.fetch(kernel), script, results, timeout=TIMEOUT).check()
        print((results / "err").read_text(), (results / "list" / "end.stats").read_text())
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(results / "sample.arrows", target)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

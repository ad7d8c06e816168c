"""The model against what real kernels emitted for the same lists (recorded by record.py): event by event, all ten
tracepoints, with page, owner and causer, and releases.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from binder_observe.simulator.request_runner import run_requests
from binder_observe.simulator.requests import load_requests
from tests.simulator.model import ALL
from tests.simulator.stream import digest, of_ftrace, of_model

RECORDED = Path(__file__).resolve().parent / "recorded"
DIGESTS = json.loads((RECORDED / "digests.json").read_text())


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.requests")), ids=lambda path: str(path.stem))
@pytest.mark.parametrize("generation", ALL)
def test_equal_event_by_event(generation: str, path: Path) -> None:
    """Where this fails and the kernel is right, `python -m tests.simulator.record` says where they part."""
    lines = of_model(run_requests(load_requests(path), generation=generation))
    recorded = DIGESTS[generation]["lists"][path.stem]
    assert (len(lines), digest(lines)) == (recorded["events"], recorded["sha256"]), DIGESTS[generation]["kernel"]


def test_reading_ftrace() -> None:
    text = """\
# tracer: nop
          p1-168     [000] .N...     6: binder_alloc_page_start: proc=167 page_index=0
          p0-167     [001] .....     7: binder_free_lru_end: proc=167 page_index=12
     kworker/0:2-61  [000] .....     8: release: (binder_alloc_deferred_release+0x0/0x2a0)
     kworker/0:2-61  [000] .....     9: released: (binder_deferred_func+0x1/0x2 <- binder_alloc_deferred_release)
        workload-99  [000] .....    10: binder_unmap_user_start: proc=168 page_index=3
"""
    assert of_ftrace(text.splitlines(), {167: "p0", 168: "p1"}) == [
        "ALLOC_PAGE_START p0 0 p1",
        "FREE_LRU_END p0 12 p0",
        "RELEASE_START kworker",
        "RELEASE_END kworker",
        "UNMAP_USER_START p1 3 workload",
    ]

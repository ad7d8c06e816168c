"""Request lists: what is read, what is refused, and what a run of one says."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from binder_observe.errors import ObserveError
from binder_observe.simulator.random_requests import random_requests
from binder_observe.simulator.request_runner import RequestRun, run_requests
from binder_observe.simulator.requests import load_requests, parse_requests
from tests.simulator.model import ALL, install, park

TWO = "open server binder\nopen client binder\n"


def run(text: str, generation: str = "6.14") -> RequestRun:
    return run_requests(parse_requests(TWO + text), generation=generation, end=False)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("frobnicate", 3, "there is no request frobnicate"),
        ("open", 3, "open: WHO is missing"),
        ("open a", 3, "open: CONTEXT is missing"),
        ("open client binder", 3, "process client has binder open already"),
        ("open a b/c", 3, "context b/c may hold letters, digits, _ and - only"),
        ("open a binder bytes=0", 3, "bytes must be at least 1"),
        ("open a binder bytes=-4", 3, "bytes must be a whole number up to 1073741824, not -4"),
        ("open a binder size=4", 3, r"open: what is size=4\?"),
        ("open a binder now", 3, r"open: what is now\?"),
        ("call nobody binder data=0 reply=0 as x", 3, "process nobody has not opened anything"),
        ("call client hwbinder data=0 reply=0 as x", 3, "process client does not have hwbinder open"),
        ("call client binder reply=0 as x", 3, "call: data= is missing"),
        ("call client binder data=0 as x", 3, "call: reply= is missing"),
        ("call client binder data=0 reply=0", 3, "call: as NAME is missing"),
        ("call client binder data=0 reply=0 is x", 3, 'expected "as NAME" instead of is'),
        ("call client binder data=10 objects=1 reply=0 as x", 3, "too small for 1 objects of 24 bytes"),
        ("call client binder data=10 extra=4 reply=0 as x", 3, "extra must be a multiple of 8"),
        ("call server binder data=0 reply=0 as x", 3, "process server manages binder and cannot call itself"),
        ("oneway client binder data=0 as x\noneway client binder data=0 as x", 4, "the name x is taken"),
        ("oneway client binder data=0 reply=3 as x", 3, r"oneway: what is reply=3\?"),
        ("free x", 3, "nothing was sent as x"),
        ("oneway client binder data=0 as x\nfree x.reply", 4, "x is one-way and has no reply"),
        ("oneway client binder data=0 as x\nfree x\nfree x", 5, "x is freed already"),
        (
            "oneway client binder data=0 as x\noneway client binder data=0 as y\nfree y",
            5,
            "in the order they were sent: x comes first",
        ),
        ("call client binder data=0 reply=0 as x\nclose server binder\nfree x", 5, "process server, which held x"),
        ("unmap client binder\nunmap client binder", 4, "it is unmapped already"),
        ("exit client\nclose client binder", 4, "process client has exited"),
        ("fork client server", 3, "process server exists already"),
        ("fork client child\nunmap child binder", 4, "process child only inherited binder"),
        ("sleep soon", 3, "MS must be a whole number"),
        ("checkpoint a\ncheckpoint a", 4, "there is a checkpoint a already"),
        (
            "flood binder senders=server threads=1 count=1 min=0 max=1 mode=sync seed=1",
            3,
            "manages binder and cannot call itself",
        ),
        ("flood binder senders=client threads=0 count=1 min=0 max=1 mode=sync seed=1", 3, "threads must be at least 1"),
        ("flood binder senders=client threads=1 count=1 min=2 max=1 mode=sync seed=1", 3, "min is larger than max"),
        ("flood binder senders=client threads=1 count=1 min=0 max=1 mode=both seed=1", 3, "mode must be sync"),
        ("flood hwbinder senders=client threads=1 count=1 min=0 max=1 mode=sync seed=1", 3, "hwbinder has no manager"),
        (
            "oneway client binder data=0 as x\n"
            "flood binder senders=client threads=1 count=1 min=0 max=1 mode=sync seed=1",
            4,
            "free the one-way buffers of binder first",
        ),
    ],
)
def test_refusals(text: str, line: int, reason: str) -> None:
    with pytest.raises(ObserveError, match=rf"^list:{line}: .*{reason}"):
        parse_requests(TWO + text, "list")


def test_comments_and_space() -> None:
    requests = parse_requests("# a\n\n  open a binder # b\n\topen b binder   bytes=4096\n")
    assert [(r.line, r.verb, r.text) for r in requests.requests] == [
        (3, "open", "open a binder"),
        (4, "open", "open b binder   bytes=4096"),
    ]
    assert [r.manager for r in requests.requests] == [True, False]


def test_a_missing_file() -> None:
    with pytest.raises(ObserveError, match=r"cannot read the requests nowhere\.requests: No such file"):
        load_requests("nowhere.requests")


def of_alloc(run: RequestRun, file: int) -> list[tuple[str, int]]:
    number = run.allocs[file]
    return [(kind.name, page) for _, kind, alloc, page, *_ in run.events.rows() if alloc == number and kind < 16]


def test_who_causes_what() -> None:
    """The request is installed by the caller, the reply by the manager; each is freed by its owner."""
    result = run("call client binder data=100 reply=5000 as x\nfree x\nfree x.reply\n")
    assert of_alloc(result, 0) == [*install(0), *park(0)]
    assert of_alloc(result, 1) == [*install(0, 1), *park(0, 1)]
    by = {
        (kind.name, alloc, tgid) for _, kind, alloc, _, _, tgid, *_ in result.events.rows() if kind.name.endswith("END")
    }
    server, client = result.pids["server"], result.pids["client"]
    assert by == {
        ("ALLOC_PAGE_END", 1, client),
        ("FREE_LRU_END", 1, server),
        ("ALLOC_PAGE_END", 2, server),
        ("FREE_LRU_END", 2, client),
    }
    assert [entry.get("offset") for entry in result.log] == [None, None, 0, 0, 0]
    assert result.log[2]["reply_offset"] == 0


def test_failures_are_said_as_the_workload_says_them() -> None:
    result = run(
        "call client binder data=2000000 reply=0 as big\nfree big\n"
        "call client binder data=0 reply=2000000 as bigger\nfree bigger.reply\nfree bigger\n"
        "oneway client binder data=600000 as half\nfree half\n"
        "unmap server binder\ncall client binder data=0 reply=0 as late\n"
    )
    said = [(e["ok"], e["error"], e.get("failed"), e.get("skipped")) for e in result.log[2:]]
    assert said == [
        (False, "BR_FAILED_REPLY", "call", None),
        (True, None, None, True),
        (False, "BR_FAILED_REPLY", "reply", None),
        (True, None, None, True),
        (True, None, None, None),
        (False, "BR_FAILED_REPLY", None, None),
        (True, None, None, True),
        (True, None, None, None),
        (False, "BR_DEAD_REPLY", "call", None),
    ]


def test_without_a_manager_nothing_happens() -> None:
    result = run_requests(parse_requests(TWO + "close server binder\ncall client binder data=0 reply=0 as x\nfree x\n"))
    assert result.log[3]["error"] == "BR_DEAD_REPLY"
    assert result.log[4]["skipped"]
    assert {kind.name for _, kind, *_ in result.events.rows() if kind < 16} == {"RELEASE_START", "RELEASE_END"}


def test_checkpoints_and_time() -> None:
    result = run(
        "call client binder data=9000 reply=0 as x\ncheckpoint one\nsleep 50\nfree x\nreclaim\ncheckpoint two\n"
    )
    one, two = result.checkpoints
    assert one.stats == [("server", "binder", (3, 0, 251, 3)), ("client", "binder", (1, 0, 253, 1))]
    assert two.stats[0] == ("server", "binder", (0, 0, 254, 3))
    assert two.ts_ns - one.ts_ns > 50_000_000


def test_the_end_releases_everything() -> None:
    text = TWO + "call client binder data=9000 reply=0 as x\n"
    result = run_requests(parse_requests(text))
    assert not result.kernel.allocs
    assert Counter(kind.name for _, kind, *_ in result.events.rows())["RELEASE_END"] == 2


def test_a_child_keeps_the_file() -> None:
    result = run("fork server child\nexit server\ncheckpoint held\nexit child\ncheckpoint gone\n")
    held, gone = result.checkpoints
    assert [(who, stats) for who, _, stats in held.stats] == [("server", (0, 0, 0, 0)), ("client", (0, 0, 254, 0))]
    assert [who for who, *_ in gone.stats] == ["client"]


@pytest.mark.parametrize("generation", ALL)
def test_the_seed_decides_times_only(generation: str) -> None:
    requests = parse_requests(random_requests(4, 80))
    runs = [run_requests(requests, generation=generation, seed=seed).events for seed in (1, 2)]
    for column in ("kind", "alloc", "page", "tgid"):
        assert (getattr(runs[0], column) == getattr(runs[1], column)).all()
    assert (runs[0].ts_ns != runs[1].ts_ns).any()


def test_random_lists_say_everything() -> None:
    verbs: Counter[str] = Counter()
    outcomes: Counter[str | None] = Counter()
    for seed in range(12):
        requests = parse_requests(random_requests(seed, 200))
        verbs.update(request.verb for request in requests.requests)
        outcomes.update(entry["error"] for entry in run_requests(requests).log)
    assert set(verbs) >= {
        "open", "call", "oneway", "free", "reclaim", "unmap", "close", "exit", "fork", "checkpoint",
    }  # fmt: skip
    assert outcomes["BR_FAILED_REPLY"] > 5
    assert outcomes["BR_DEAD_REPLY"] > 5
    assert outcomes[None] > 0.8 * outcomes.total()
    assert random_requests(3, 50) == random_requests(3, 50)
    assert random_requests(3, 50) != random_requests(4, 50)


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_the_workload_reads_what_we_write(tmp_path: Path) -> None:
    """Both readers accept the same lists: tests/kernels/workload_list.c and ours."""
    workload = pytest.importorskip("tests.kernels.workload")
    program = workload.build(tmp_path)
    for seed in range(5):
        path = tmp_path / f"{seed}.requests"
        path.write_text(random_requests(seed, 300))
        checked = subprocess.run([program, "--check", path], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
    for path in sorted(workload.LISTS.glob("*.requests")):
        load_requests(path)

"""Page states from the kernel: where they lie, how they are asked for, and what the ring's records of them say."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from binder_observe.errors import UnsupportedError
from binder_observe.events import Kind
from binder_observe.sources.probes import probes_directory
from binder_observe.sources.ring import RECORD
from binder_observe.sources.snapshot import PAGES, Step, binder_procs, expand, layout, run_once

COMMON = {"binder_proc.proc_node": 8, "binder_alloc.pages": 80}
PATCHED = {"binder_alloc.mutex.owner": 0, "binder_shrinker_mdata.lru": 16, "page.private": 40}
ARRAY = {"binder_alloc.lock.rlock.raw_lock.val": 4, "binder_lru_page.page_ptr": 16, "binder_lru_page.lru": 0}


class Types:
    """Btf with these members, by STRUCT.MEMBER."""

    def __init__(self, *members: dict[str, int]) -> None:
        self.members = {name: at for some in members for name, at in some.items()}

    def has_struct(self, name: str) -> bool:
        return any(member.startswith(f"{name}.") for member in self.members)

    def has_member(self, struct: str, member: str) -> bool:
        return f"{struct}.{member}" in self.members

    def offset(self, struct: str, member: str) -> int:
        if not self.has_member(struct, member):
            raise UnsupportedError(f"the kernel's struct {struct} has no member {member}")
        return self.members[f"{struct}.{member}"]

    def sizeof(self, struct: str) -> int:
        return 32


def test_layouts_are_told_apart_by_their_types() -> None:
    patched: Any = Types(COMMON, PATCHED)
    assert layout(patched) == {
        "PROC_NODE": 8, "ALLOC_PAGES": 80, "LOCK_WORD": 0, "LOCK_MASK": 0xFFFFFFFFFFFFFFF8, "MDATA_LRU": 16,
        "PAGE_PRIVATE": 40,
    }  # fmt: skip
    array: Any = Types(COMMON, ARRAY)
    assert layout(array) == {
        "PROC_NODE": 8, "ALLOC_PAGES": 80, "LOCK_WORD": 4, "LOCK_MASK": 0xFFFFFFFF, "PAGE_PTR": 16, "PAGE_LRU": 0,
        "PAGE_ENTRY": 32,
    }  # fmt: skip


@pytest.mark.parametrize("lacks", [*COMMON, "page.private", "binder_alloc.mutex.owner"])
def test_a_layout_that_is_not_known_is_refused(lacks: str) -> None:
    members = COMMON | PATCHED
    del members[lacks]
    types: Any = Types(members)
    with pytest.raises(UnsupportedError):
        layout(types)


def test_the_list_of_processes_is_found(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text(
        "ffffffff81000000 T _text\nffffffffc0001000 b binder_procs_lock\t[binder_linux]\n"
        "ffffffffc0002000 b binder_procs\t[binder_linux]\n"
    )
    assert binder_procs(path) == 0xFFFFFFFFC0002000
    path.write_text("ffffffff82003000 b binder_procs\nffffffffc0001000 b binder_procs\t[another]\n")
    assert binder_procs(path) == 0xFFFFFFFF82003000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ffffffffc0002000 b binder_procs_lock\n", "no symbol binder_procs"),
        ("0000000000000000 b binder_procs\n", "hides addresses"),
        (None, "cannot read"),
    ],
)
def test_why_the_list_is_not_found(tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "kallsyms"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UnsupportedError, match=why):
        binder_procs(path)


def test_what_is_no_program_cannot_be_run() -> None:
    with open(os.devnull) as file, pytest.raises(UnsupportedError, match="does not run a BPF program on demand"):
        run_once(file.fileno())


def records(*rows: tuple[int, ...]) -> Any:
    return np.array(list(rows), dtype=RECORD)


def test_a_record_of_many_pages_becomes_one_a_page() -> None:
    event = (5, 1, 33, 7, 8, 0, 1, Kind.ALLOC_PAGE_START, 0)
    packed = (6, 2, 32, 0b1101, 0b1100, 3, 4, PAGES, 0)
    nothing = (7, 2, 0, 0b1, 0, 3, 0, PAGES, 0)  # what it saw changed meanwhile
    high, nothing_high = (6, 2, 34, 0, 0, 3, 1, Kind.SNAPSHOT_HIGH, 0), (7, 2, 34, 0, 0, 3, 0, Kind.SNAPSHOT_HIGH, 0)
    found = expand(records(event, packed, high, nothing, nothing_high, event))
    assert [tuple(row) for row in found.tolist()] == [
        event,
        (6, 2, 32, 0, 0, 3, 0, Kind.SNAPSHOT_ACTIVE, 0),
        (6, 2, 33, 0, 0, 3, 0, Kind.SNAPSHOT_FREE, 0),
        (6, 2, 34, 0, 0, 3, 0, Kind.SNAPSHOT_LRU, 0),
        (6, 2, 35, 0, 0, 3, 0, Kind.SNAPSHOT_LRU, 0),
        (6, 2, 34, 0, 0, 3, 0, Kind.SNAPSHOT_HIGH, 0),
        event,
    ]


def test_the_last_page_of_a_record_is_its_highest_bit() -> None:
    found = expand(records((6, 1, 64, 1 << 31, 1 << 31, 0, 32, PAGES, 0)))
    assert found["page"].tolist() == list(range(64, 96))
    assert found["kind"].tolist() == [Kind.SNAPSHOT_FREE] * 31 + [Kind.SNAPSHOT_LRU]


def test_a_high_watermark_that_says_nothing_is_left_out_alone_too() -> None:
    assert len(expand(records((7, 2, 34, 0, 0, 3, 0, Kind.SNAPSHOT_HIGH, 0)))) == 0


def test_events_alone_are_left_as_they_are() -> None:
    events = records((5, 1, 33, 7, 8, 0, 1, Kind.ALLOC_PAGE_START, 0))
    assert expand(events) is events
    assert len(expand(records())) == 0


def test_the_header_agrees() -> None:
    header = (probes_directory() / "record.h").read_text()
    defines = {name: int(value) for name, value in re.findall(r"#define (\w+)\s+(\d+)", header)}
    assert defines["SNAPSHOT_PAGES"] == PAGES
    assert PAGES not in [int(kind) for kind in Kind]
    assert defines["SNAPSHOT_PAGES_MOST"] == 8 * RECORD["tgid"].itemsize
    steps = {"DONE": Step.DONE, "STEP": Step.MORE, "BUSY": Step.BUSY, "FULL": Step.FULL}
    assert {name: defines[f"WALK_{name}"] for name in steps} == steps

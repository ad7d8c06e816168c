"""What the probes on the shrinker's callback are built with, and why they are done without."""

from __future__ import annotations

from typing import Any

import pytest

from binder_observe.errors import UnsupportedError
from binder_observe.sources.ebpf import EbpfSource
from binder_observe.sources.skips import layout
from tests.test_snapshot import Types

COMMON = {
    "binder_alloc.mm": 40, "binder_alloc.pages": 80, "mm_struct.mm_users": 116, "mm_struct.mmap_lock.count": 168,
}  # fmt: skip
MUTEX = {"binder_alloc.mutex.owner": 0}
PATCHED = MUTEX | {
    "binder_shrinker_mdata.lru": 0, "binder_shrinker_mdata.alloc": 16, "binder_shrinker_mdata.page_index": 24,
}  # fmt: skip
ARRAY = {"binder_lru_page.lru": 0, "binder_lru_page.alloc": 24, "binder_alloc.buffer": 56}
SPINLOCK = {"binder_alloc.lock.rlock.raw_lock.val": 0}


class Kernel(Types):
    """The same with enums, and with the type of `buffer`, which tells the order in which locks are tried."""

    def __init__(self, *members: dict[str, int], buffer: str = "int") -> None:
        super().__init__(*members)
        self.buffer = buffer

    def enumerator(self, enum: str, name: str) -> int:
        return {("lru_status", "LRU_SKIP"): 3}[enum, name]

    def member_type(self, struct: str, member: str) -> str:
        assert (struct, member) == ("binder_alloc", "buffer")
        return self.buffer


def test_layouts_are_told_apart_by_their_types() -> None:
    same = {"LRU_SKIP": 3, "ALLOC_MM": 40, "ALLOC_PAGES": 80, "MM_USERS": 116, "MMAP_LOCK": 168, "LOCK_WORD": 0}
    mutex, spinlock = {"LOCK_MASK": 0xFFFFFFFFFFFFFFF8}, {"LOCK_MASK": 0xFFFFFFFF}
    array = {"PAGE_LRU": 0, "PAGE_ALLOC": 24, "PAGE_ENTRY": 32}
    patched: Any = Kernel(COMMON, PATCHED)
    assert layout(patched) == same | mutex | {"MDATA_LRU": 0, "MDATA_ALLOC": 16, "MDATA_INDEX": 24}
    newer: Any = Kernel(COMMON, ARRAY, SPINLOCK)
    assert layout(newer) == same | spinlock | array
    older: Any = Kernel(COMMON, ARRAY, MUTEX, buffer="pointer")
    assert layout(older) == same | mutex | array | {"ALLOC_LOCK_FIRST": 1}


@pytest.mark.parametrize("lacks", [*COMMON, *PATCHED])
def test_a_layout_that_is_not_known_is_noted(lacks: str) -> None:
    members = COMMON | PATCHED
    del members[lacks]
    if lacks == "binder_shrinker_mdata.lru":
        members = COMMON | MUTEX  # neither layout
    source = EbpfSource.__new__(EbpfSource)
    source._init_state()
    types: Any = Kernel(members)
    with pytest.raises(UnsupportedError):
        layout(types)
    assert source._skip_layout(types) is None
    (note,) = source._notes
    assert note.startswith("what the shrinker skips is not seen: the kernel's struct ")

"""The one table of events, held against the probes' header and the Arrow schema."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from binder_observe import events
from binder_observe.events import BY_KIND, COLUMNS, LRU_SKIPS, TABLE, Kind, concat, from_rows
from binder_observe.recording import RecordingWriter
from binder_observe.sources.probes import probes_directory, tracepoint_kinds
from binder_observe.sources.ring import ENTRY, RECORD
from tests.build import META, attach, install, mapped, row

_C_TYPES = {"u64": 8, "u32": 4, "u16": 2, "u8": 1}


def test_every_kind_has_one_row() -> None:
    assert [r.kind for r in TABLE] == list(Kind)
    assert set(BY_KIND) == set(Kind)
    assert all(r.meaning and r.page for r in TABLE)


def test_numbers_are_stable() -> None:
    """They are in every recording: a change here is a new format version."""
    assert {k.name: k.value for k in Kind} == {
        "ALLOC_PAGE_START": 1, "ALLOC_PAGE_END": 2, "ALLOC_LRU_START": 3, "ALLOC_LRU_END": 4, "FREE_LRU_START": 5,
        "FREE_LRU_END": 6, "UNMAP_KERNEL_START": 7, "UNMAP_KERNEL_END": 8, "UNMAP_USER_START": 9,
        "UNMAP_USER_END": 10, "RELEASE_START": 11, "RELEASE_END": 12, "SNAPSHOT_FREE": 16, "SNAPSHOT_ACTIVE": 17,
        "SNAPSHOT_LRU": 18, "SNAPSHOT_HIGH": 19, "LRU_SKIP_ALLOC_LOCK": 20, "LRU_SKIP_MMAP_LOCK": 21,
        "LRU_SKIP_MM_GONE": 22, "LRU_SKIP_OTHER": 23, "ALLOC": 24, "MMAP": 25, "PROCESS": 26, "LOST": 30, "ATTACH": 31,
        "DETACH": 32, "AUDIT": 33,
    }  # fmt: skip
    assert events.FORMAT_VERSION == 1


def test_the_header_of_the_probes_agrees() -> None:
    header = (probes_directory() / "record.h").read_text()
    enum = re.search(r"enum kind \{(.*?)\}", header, re.S)
    assert enum
    named = dict(re.findall(r"(\w+) = (\d+)", enum[1]))
    assert {name: int(number) for name, number in named.items()} == {name: Kind[name].value for name in named}
    assert {kind.name for kind in Kind if kind <= Kind.RELEASE_END or kind in LRU_SKIPS} <= set(named)

    struct = re.search(r"struct record \{(.*?)\}", header, re.S)
    assert struct
    fields = re.findall(r"^\s*(u\d+) (\w+);", struct[1], re.M)
    assert [name for _, name in fields] == list(RECORD.names or ())
    offset = 0
    for c_type, name in fields:
        assert RECORD.fields is not None
        assert RECORD.fields[name][1] == offset
        assert RECORD.fields[name][0].itemsize == _C_TYPES[c_type]
        offset += _C_TYPES[c_type]
    assert offset == RECORD.itemsize == 32
    assert ENTRY.itemsize == 40


def test_every_tracepoint_has_a_program_and_a_spare() -> None:
    program = (probes_directory() / "binder_pages.c").read_text()
    for kind in tracepoint_kinds(latency=True):
        for prefix, call in (("", "first"), ("spare_", "spare")):
            body = re.search(rf"^int {prefix}{kind.name.lower()}\(.*?^}}", program, re.S | re.M)
            assert body, kind
            assert f"{call}(ctx->args[0], ctx->args[1], {kind.name})" in body[0]


def test_the_recording_has_the_same_columns(tmp_path: Path) -> None:
    path = tmp_path / "r.arrows"
    with RecordingWriter(path, META) as writer:
        writer.write(from_rows([attach()]))
    with path.open("rb") as stream:
        schema = pa.ipc.open_stream(stream).schema
    assert schema.names == [*COLUMNS, "name"]
    assert [schema.field(c).type.to_pandas_dtype() for c in COLUMNS] == [np.dtype(t) for t in COLUMNS.values()]


@pytest.mark.parametrize("cut", range(6))
def test_slices_and_concatenation_keep_rows_and_names(cut: int) -> None:
    whole = from_rows([attach(), mapped(), row(3, Kind.PROCESS, name="a"), *install(5)])
    assert list(concat([whole.slice(0, cut), whole.slice(cut, len(whole))]).rows()) == list(whole.rows())
    assert whole.kernel_events == 2


def test_events_of_the_kernel_are_counted() -> None:
    own = [*range(Kind.ALLOC_PAGE_START, Kind.RELEASE_END + 1), *LRU_SKIPS]
    for kind in Kind:
        assert from_rows([row(1, kind)]).kernel_events == (kind in own), kind


def test_concat_of_nothing() -> None:
    assert len(concat([])) == 0
    assert concat([]).ts_ns.dtype == np.int64

"""Recordings: round trip, ownership, crashes, cuts and damage."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import resource
import signal
import stat
import struct
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from binder_observe import files
from binder_observe.errors import ObserveError
from binder_observe.events import COLUMNS, DTYPE, EventBatch, Kind, concat, from_records, from_rows
from binder_observe.recording import BATCH_ROWS, RecordingReader, RecordingWriter
from binder_observe.recording import format as recording_format
from binder_observe.sources import Meta

META = Meta(
    source="simulated",
    kernel="6.12.117",
    generation="6.8",
    page_size=4096,
    tool_version="0.1.0",
    boot_id="3f0c",
    clock_offset_ns=-5,
    filters={"pid": ["12"]},
    probes=["binder_alloc_page_end"],
)
Row = tuple[int, int, int, int, int, int, int, str | None]


def stream(rows: int, first: int = 0) -> EventBatch:
    """Rows as dense as real ones, all different, so that a lost or repeated one shows."""
    records = np.zeros(rows, dtype=DTYPE)
    at = np.arange(first, first + rows)
    records["ts_ns"] = 3_600_000_000_000 + at * 700 + (at * 7919) % 613
    records["kind"] = np.array([1, 2, 5, 3, 5, 7], dtype="u1")[at % 6]
    records["alloc"] = 1 + (at // 6) % 5
    records["page"] = (at // 6) % 254
    records["cpu"] = at % 8
    records["tgid"] = 1000 + (at * 31) % 97
    records["tid"] = 1000 + (at * 17) % 499
    return from_records(records)


def rows_of(batches: Iterator[EventBatch] | list[EventBatch]) -> list[tuple[object, ...]]:
    return [row for batch in batches for row in batch.rows()]


def record(path: Path, batches: list[EventBatch], *, close: bool = True) -> None:
    """One record batch for each batch."""
    writer = RecordingWriter(path, META)
    for batch in batches:
        writer.write(batch)
        writer.flush()
    if close:
        writer.close()
    else:
        os.close(os.dup(writer.fileno()))


def small_batches() -> list[EventBatch]:
    described = from_rows(
        [
            (5, Kind.ATTACH, 0, 0, 0, 0, 0, None),
            (6, Kind.PROCESS, 0, 0, 0, 41, 41, "system_server"),
            (6, Kind.MMAP, 1, 254, 0, 41, 41, "hwbinder"),
        ]
    )
    return [described, stream(40), stream(7, first=40), from_rows([(9, Kind.DETACH, 0, 0, 0, 0, 0, None)])]


def read(path: Path) -> tuple[list[EventBatch], bool, str | None]:
    with RecordingReader(path) as reader:
        batches = list(reader.batches())
        return batches, reader.truncated, reader.note


ROWS = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.sampled_from(list(Kind)),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**16 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.none() | st.text(max_size=20),
    ),
    max_size=30,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lists=st.lists(ROWS, max_size=6), interval_s=st.sampled_from([0.0, 1e9]))
def test_round_trip(tmp_path: Path, lists: list[list[Row]], interval_s: float) -> None:
    path = tmp_path / "r.arrow"
    with RecordingWriter(path, META, force=True, flush_interval_s=interval_s) as writer:
        for rows in lists:
            writer.write(from_rows(rows))
    batches, truncated, note = read(path)
    assert rows_of(batches) == [row for rows in lists for row in rows]
    assert not truncated
    assert note is None


def test_meta_comes_back(tmp_path: Path) -> None:
    record(tmp_path / "r.arrow", [])
    with RecordingReader(tmp_path / "r.arrow") as reader:
        assert reader.meta == META
        assert list(reader.batches()) == []
        assert not reader.truncated


def test_columns_have_the_event_types(tmp_path: Path) -> None:
    record(tmp_path / "r.arrow", [stream(100)])
    (batch,), _, _ = read(tmp_path / "r.arrow")
    for column, dtype in COLUMNS.items():
        assert getattr(batch, column).dtype == np.dtype(dtype)


def test_a_batch_larger_than_the_buffer(tmp_path: Path) -> None:
    whole = stream(3 * BATCH_ROWS + 17)
    names = {0: "first", BATCH_ROWS - 1: "edge", BATCH_ROWS: "next", len(whole) - 1: "last"}
    whole = replace(whole, names=names)
    with RecordingWriter(tmp_path / "r.arrow", META) as writer:
        writer.write(stream(10))
        writer.write(whole)
    batches, _, _ = read(tmp_path / "r.arrow")
    assert [len(batch) for batch in batches] == [BATCH_ROWS] * 3 + [27]
    assert concat(batches).names == {10 + row: name for row, name in names.items()}
    np.testing.assert_array_equal(concat(batches).ts_ns[10:], whole.ts_ns)


def test_batches_can_be_read_twice(tmp_path: Path) -> None:
    record(tmp_path / "r.arrow", small_batches())
    with RecordingReader(tmp_path / "r.arrow") as reader:
        assert rows_of(reader.batches()) == rows_of(reader.batches()) == rows_of(small_batches())


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    record(tmp_path / "r.arrow", [from_rows([(1, Kind.PROCESS, 0, 0, 0, 4, 4, "a\udcff")])])
    batches, _, _ = read(tmp_path / "r.arrow")
    assert batches[0].names == {0: "a\\udcff"}


def test_plain_pyarrow_reads_the_same_table(tmp_path: Path) -> None:
    path = tmp_path / "r.arrow"
    record(path, small_batches())
    code = textwrap.dedent(f"""
        import pyarrow as pa, sys
        table = pa.ipc.open_stream({str(path)!r}).read_all()
        assert not any(name.startswith("binder_observe") for name in sys.modules)
        assert table.column_names == {[*COLUMNS, "name"]!r}
        assert b"binder_observe.format" in table.schema.metadata
        print([tuple(row.values()) for row in table.to_pylist()])
    """)
    printed = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True).stdout
    assert eval(printed) == [tuple(int(v) if isinstance(v, Kind) else v for v in row)
                             for row in rows_of(small_batches())]  # fmt: skip


def test_a_file_rewritten_by_another_tool(tmp_path: Path) -> None:
    """No checksums, no compression, nullable columns, a column more: still the same rows."""
    record(tmp_path / "r.arrow", small_batches())
    table = pa.ipc.open_stream(str(tmp_path / "r.arrow")).read_all()
    schema = pa.schema([pa.field(f.name, f.type) for f in table.schema], metadata=table.schema.metadata)
    table = table.cast(schema).append_column("extra", pa.nulls(len(table), pa.int8()))
    with pa.ipc.new_stream(str(tmp_path / "other.arrow"), table.schema) as out:
        out.write_table(table)
    batches, truncated, _ = read(tmp_path / "other.arrow")
    assert rows_of(batches) == rows_of(small_batches())
    assert not truncated


@pytest.mark.parametrize("latency", [False, True])
def test_at_most_eight_bytes_an_event(tmp_path: Path, latency: bool) -> None:
    """Interleaved allocs and tasks, nanosecond jitter; the deltas are what a busy system shows."""
    rng = np.random.default_rng(7)
    n = 200_000
    records = np.zeros(n, dtype=DTYPE)
    task = rng.choice(40, size=n // 4, p=np.arange(40, 0, -1) / np.arange(41).sum()).repeat(4)
    records["ts_ns"] = 3_600_000_000_000 + np.cumsum(rng.gamma(2, 3_000, n).astype(np.int64))
    kinds = [1, 2, 5, 6] if latency else [3, 3, 5, 5]
    records["kind"] = np.tile(np.array(kinds, dtype="u1"), n // 4)
    records["alloc"] = 1 + task % 12
    records["page"] = rng.geometric(0.08, n // 4).repeat(4) % 254
    records["cpu"] = rng.integers(0, 8, n // 4).repeat(4)
    records["tgid"] = 1000 + 31 * (task % 12)
    records["tid"] = 1000 + 31 * task
    with RecordingWriter(tmp_path / "r.arrow", META) as writer:
        writer.write(from_records(records))
    assert (tmp_path / "r.arrow").stat().st_size / n <= 8


# --- the file and its owner ---


def test_mode_is_0600_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a chmod comes too late")

    monkeypatch.setattr(os, "chmod", never)
    monkeypatch.setattr(os, "fchmod", never)
    before = os.umask(0)
    try:
        with RecordingWriter(tmp_path / "r.arrow", META):
            assert stat.S_IMODE((tmp_path / "r.arrow").stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("force", [False, True])
def test_the_invoking_user_owns_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool) -> None:
    if force:
        (tmp_path / "r.arrow").touch()
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "2345")
    with RecordingWriter(tmp_path / "r.arrow", META, force=force):
        found = (tmp_path / "r.arrow").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 2345, 0o600)


def test_sudo_variables_that_are_nonsense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "-1")
    monkeypatch.setenv("SUDO_GID", "x")
    with RecordingWriter(tmp_path / "r.arrow", META):
        assert (tmp_path / "r.arrow").stat().st_uid == os.geteuid()


def test_refuses_to_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "r.arrow"
    path.write_text("precious")
    with pytest.raises(ObserveError, match="already exists; -f overwrites it"):
        RecordingWriter(path, META)
    assert path.read_text() == "precious"


def test_force_replaces_file_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "r.arrow"
    path.write_text("old")
    path.chmod(0o666)
    os.link(path, tmp_path / "link")
    with RecordingWriter(path, META, force=True) as writer:
        writer.write(stream(3))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / "link").read_text() == "old"
    assert len(concat(read(path)[0])) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "r.arrow"]


def test_force_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "r.arrow"
    path.write_text("old")
    monkeypatch.setattr(files, "write_all", full)
    with pytest.raises(ObserveError, match="No space left"):
        RecordingWriter(path, META, force=True)
    assert path.read_text() == "old"
    with pytest.raises(ObserveError, match="No space left"):
        RecordingWriter(tmp_path / "new.arrow", META)
    assert [p.name for p in tmp_path.iterdir()] == ["r.arrow"]


@pytest.mark.parametrize("force", [False, True])
def test_refuses_what_is_no_regular_file(tmp_path: Path, force: bool) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    for path, words in [
        (tmp_path / "link", "symbolic link"),
        (tmp_path / "dangling", "symbolic link"),
        (tmp_path / "fifo", "not a regular file"),
        (tmp_path, "is a directory"),
        (Path("/dev/full"), "not a regular file"),
        (tmp_path / "no" / "dir" / "r.arrow", "No such file or directory"),
        (Path("-"), "standard output"),
    ]:
        with pytest.raises(ObserveError, match=words):
            RecordingWriter(path, META, force=force)
    with pytest.raises(ObserveError, match="null"):
        RecordingWriter("a\0b", META, force=force)
    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


# --- when it is written ---


def test_flush_interval(tmp_path: Path) -> None:
    now = [100.0]
    path = tmp_path / "r.arrow"
    with RecordingWriter(path, META, flush_interval_s=1.0, clock=lambda: now[0]) as writer:
        writer.write(stream(5))
        assert writer.saved_events == 0
        now[0] += 0.9
        writer.write(from_rows([]))
        assert writer.saved_events == 0
        now[0] += 0.1
        writer.write(from_rows([]))  # an empty batch is enough
        assert writer.saved_events == 5
        assert len(concat(read(path)[0])) == 5
        size = path.stat().st_size
        now[0] += 5
        writer.tick()
        assert path.stat().st_size == size == writer.saved_bytes  # nothing to say, nothing written
        writer.write(stream(BATCH_ROWS))
        assert writer.saved_events == 5 + BATCH_ROWS


def test_a_batch_may_be_reused_after_write(tmp_path: Path) -> None:
    batch = stream(4)
    wanted = rows_of([batch])
    with RecordingWriter(tmp_path / "r.arrow", META, flush_interval_s=1e9) as writer:
        writer.write(batch)
        batch.page[:] = 99
    assert rows_of(read(tmp_path / "r.arrow")[0]) == wanted


def test_live_recording_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "r.arrow"
    with RecordingWriter(path, META) as writer:
        writer.write(stream(5))
        writer.flush()
        with RecordingReader(path) as reader:
            assert len(concat(reader.batches())) == 5
            assert reader.truncated
            assert reader.note == f"{path} is still being written: 5 events in 1 complete batch were read"
            writer.write(stream(6))
            writer.flush()
            assert len(concat(reader.batches())) == 11


def test_closed_writer(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "r.arrow", META)
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write(stream(1))


def test_sigkill_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from tests.test_recording import META, RecordingWriter, stream
        writer = RecordingWriter({str(tmp_path / "r.arrow")!r}, META, flush_interval_s=0.01)
        first = 0
        while True:
            writer.write(stream(997, first=first))
            first += 997
            print(writer.saved_events, flush=True)
    """)
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    saved = 0
    while saved < 400_000:
        saved = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split("\n")
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    saved = max([saved, *(int(line) for line in rest[:-1])])
    batches, truncated, note = read(tmp_path / "r.arrow")
    whole = concat(batches)
    assert len(whole) >= saved
    np.testing.assert_array_equal(whole.ts_ns, stream(len(whole)).ts_ns)
    assert truncated
    assert note is not None
    assert "has no end mark" in note


# --- no room ---


def test_no_space_left(tmp_path: Path) -> None:
    """The file turns into /dev/full under the writer's hands."""
    path = tmp_path / "r.arrow"
    writer = RecordingWriter(path, META)
    writer.write(stream(1000))
    writer.flush()
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer.fileno())
    os.close(full)
    writer.write(stream(234))
    wanted = (
        f"cannot write to {path}: No space left on device; the 1,000 events recorded until then are saved "
        "and readable, the 234 that came after them are not"
    )
    for call in (writer.flush, writer.flush, lambda: writer.write(stream(1))):
        with pytest.raises(ObserveError) as raised:
            call()
        assert str(raised.value) == wanted
    writer.close()  # has been said
    batches, truncated, _ = read(path)
    assert rows_of(batches) == rows_of([stream(1000)])
    assert truncated


def test_context_manager_reports_a_full_disk_once(tmp_path: Path) -> None:
    with pytest.raises(ObserveError, match=r"the 0 events .* the 10 that"):  # noqa: PT012, SIM117
        with RecordingWriter(tmp_path / "r.arrow", META) as writer:
            writer.write(stream(10))
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, writer.fileno())
            os.close(full)


def test_file_size_limit_cuts_no_batch(tmp_path: Path) -> None:
    """The kernel takes a part of the last batch; the writer takes it back."""
    path = tmp_path / "r.arrow"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = RecordingWriter(path, META)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        with pytest.raises(ObserveError, match="File too large"):  # noqa: PT012
            while True:
                writer.write(stream(1000, first=writer.saved_events))
                writer.flush()
        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size == writer.saved_bytes
    batches, truncated, note = read(path)
    assert rows_of(batches) == rows_of([stream(writer.saved_events)])
    assert truncated
    assert note is not None
    assert "no complete batch" not in note


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs takes root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_file_system(tiny_disk: Path) -> None:
    def fill(writer: RecordingWriter) -> None:
        while True:
            writer.write(stream(1000, first=writer.saved_events))
            writer.flush()

    with (
        RecordingWriter(tiny_disk / "r.arrow", META) as writer,
        pytest.raises(ObserveError, match="No space"),
    ):
        fill(writer)
    saved = writer.saved_events
    assert saved > 1000
    assert rows_of(read(tiny_disk / "r.arrow")[0]) == rows_of([stream(saved)])
    (tiny_disk / "filler").write_bytes(b"x" * (os.statvfs(tiny_disk).f_bavail * 4096))
    with pytest.raises(ObserveError, match="No space left"):
        RecordingWriter(tiny_disk / "second.arrow", META)
    assert not (tiny_disk / "second.arrow").exists()


# --- what is no recording ---


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"no Arrow at all, no Arrow at all", "not a binder-observe recording"),
        (b"ARROW1\0\0" + bytes(64), "not a binder-observe recording"),
        (bytes(1000), "not a binder-observe recording"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f", "cut off"),
        (b"\xff\xff\xff\xff\xfe\xff\xff\xff" + bytes(100), "damaged"),
    ],
)
def test_not_a_recording(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "r.arrow"
    path.write_bytes(content)
    with pytest.raises(ObserveError, match=words) as raised:
        RecordingReader(path)
    assert "\n" not in str(raised.value)


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    paths: list[tuple[str | Path, str]] = [
        (tmp_path, "is a directory"),
        (tmp_path / "fifo", "not a regular file"),
        (tmp_path / "none", "No such file"),
        ("a\0b", "null"),
    ]
    for path, words in paths:
        with pytest.raises(ObserveError, match=words):
            RecordingReader(path)

    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(ObserveError, match="Permission denied"):
        RecordingReader(tmp_path / "r.arrow")


def test_an_io_error_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "r.arrow", small_batches())
    reader = RecordingReader(tmp_path / "r.arrow")

    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    batches = reader.batches()
    next(batches)
    monkeypatch.setattr(os, "pread", broken)
    assert list(batches) == []
    assert reader.note is not None
    assert "Input/output error" in reader.note
    with pytest.raises(ObserveError, match=r"cannot read .*: Input/output error"):
        RecordingReader(tmp_path / "r.arrow")


def write_schema(path: Path, schema: pa.Schema) -> None:
    with pa.ipc.new_stream(str(path), schema) as out:
        out.write_table(schema.empty_table())


def test_headers_that_are_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "r.arrow"
    schema = recording_format.schema(META)
    ours = dict(schema.metadata)
    crc = b"binder_observe.crc32"

    def attempt(words: str, **changes: object) -> None:
        write_schema(path, schema.with_metadata({**ours, **{k.encode(): v for k, v in changes.items()}}))
        with pytest.raises(ObserveError, match=words):
            RecordingReader(path)

    write_schema(path, schema.remove_metadata())
    with pytest.raises(ObserveError, match="another kind"):
        RecordingReader(path)
    attempt("has format 2 and this binder-observe reads up to 1; upgrade", **{"binder_observe.format": b"2"})
    attempt("header of .* is damaged", **{"binder_observe.format": b"x"})
    attempt("header of .* is damaged", **{"binder_observe.meta": b"{}"})
    ours[crc] = b"%08x" % zlib.crc32(b"{}")
    attempt("does not say generation, kernel", **{"binder_observe.meta": b"{}"})
    ours[crc] = b"%08x" % zlib.crc32(b"[]")
    attempt("no object", **{"binder_observe.meta": b"[]"})
    write_schema(path, pa.schema([f for f in schema if f.name != "page"], metadata=schema.metadata))
    with pytest.raises(ObserveError, match="lacks columns"):
        RecordingReader(path)


# --- cuts and damage ---


def test_cut_at_every_byte(tmp_path: Path) -> None:
    """Every batch that is complete comes back, and nothing else."""
    wanted = [rows_of([batch]) for batch in small_batches()]
    ends = []
    writer = RecordingWriter(tmp_path / "r.arrow", META)
    header = writer.saved_bytes
    for batch in small_batches():
        writer.write(batch)
        writer.flush()
        ends.append(writer.saved_bytes)
    writer.close()
    whole = (tmp_path / "r.arrow").read_bytes()
    cut = tmp_path / "cut.arrow"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        if length < header:
            with pytest.raises(ObserveError, match="not a binder-observe recording") as raised:
                RecordingReader(cut)
            assert "\n" not in str(raised.value)
            continue
        batches, truncated, note = read(cut)
        complete = sum(end <= length for end in ends)
        assert [rows_of([batch]) for batch in batches] == wanted[:complete]
        assert truncated
        assert note is not None
        assert f": {sum(map(len, wanted[:complete]))} events in {complete} complete batch" in note
        left = length - ([header, *ends][complete])
        assert (f", {left:,} bytes after them" in note) == (left > 0)
    assert not read(tmp_path / "r.arrow")[1]


def check_damaged(path: Path, wanted: list[list[tuple[object, ...]]]) -> None:
    """Whatever the bytes are: what is read was written, and an end too early is told."""
    try:
        reader = RecordingReader(path)
    except ObserveError:
        return
    with reader:
        batches = [rows_of([batch]) for batch in reader.batches()]
        assert batches == wanted[: len(batches)]
        assert reader.truncated or len(batches) == len(wanted)
        assert reader.truncated == (reader.note is not None)
        assert reader.note is None or "\n" not in reader.note


def test_one_damaged_byte(tmp_path: Path) -> None:
    record(tmp_path / "r.arrow", small_batches())
    wanted = [rows_of([batch]) for batch in small_batches()]
    whole = (tmp_path / "r.arrow").read_bytes()
    rng = random.Random(1)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] = rng.choice((whole[at] ^ (1 << rng.randrange(8)), 0, 0x7F, 0x80, 0xFF))
        (tmp_path / "d.arrow").write_bytes(damaged)
        check_damaged(tmp_path / "d.arrow", wanted)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(data=st.data())
def test_many_damaged_bytes(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "r.arrow"
    if not path.exists():
        record(path, small_batches())
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        piece = data.draw(st.binary(min_size=1, max_size=16))
        damaged[at : at + len(piece)] = piece
    (tmp_path / "d.arrow").write_bytes(damaged)
    check_damaged(tmp_path / "d.arrow", [rows_of([batch]) for batch in small_batches()])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=300), framed=st.booleans())
def test_any_bytes(tmp_path: Path, content: bytes, framed: bool) -> None:
    prefix = b"\xff\xff\xff\xff" + struct.pack("<i", len(content)) if framed else b""
    (tmp_path / "r.arrow").write_bytes(prefix + content)
    with pytest.raises(ObserveError):
        RecordingReader(tmp_path / "r.arrow")


def first_body(path: Path) -> int:
    """Where the first compressed buffer of the first batch begins: its eight bytes of decompressed size."""
    with RecordingReader(path) as reader:
        start = reader._start
    (metadata,) = struct.unpack_from("<i", path.read_bytes(), start + 4)
    return start + 8 + int(metadata)


@pytest.mark.parametrize("size", [-2, 0, 1, 2**31, 2**40, 2**62, 2**63 - 1])
def test_a_decompressed_size_that_lies(tmp_path: Path, size: int) -> None:
    path = tmp_path / "r.arrow"
    record(path, [stream(BATCH_ROWS), stream(5)])
    damaged = bytearray(path.read_bytes())
    at = first_body(path)
    assert struct.unpack_from("<q", damaged, at) == (8 * BATCH_ROWS,)
    struct.pack_into("<q", damaged, at, size)
    path.write_bytes(damaged)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batches, truncated, note = read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
    assert batches == []
    assert truncated
    assert note is not None
    assert "is damaged at byte" in note


def test_rows_that_decode_but_differ(tmp_path: Path) -> None:
    """Bytes that zstd cannot tell are wrong; the checksum can."""
    path = tmp_path / "r.arrow"
    record(path, [stream(5), stream(BATCH_ROWS)])
    (small, large), _, _ = read(path)
    assert (len(small), len(large)) == (5, BATCH_ROWS)
    damaged = bytearray(path.read_bytes())
    # zstd stores so few timestamps as they are, behind their size (8), frame header (6) and block header (3)
    damaged[first_body(path) + 8 + 6 + 3 + 2] ^= 1
    path.write_bytes(damaged)
    batches, _, note = read(path)
    assert batches == []
    assert note is not None
    assert "checksum" in note


@pytest.mark.parametrize("batch", [0, 1])
def test_a_checksum_that_is_lost(tmp_path: Path, batch: int) -> None:
    path = tmp_path / "r.arrow"
    record(path, [stream(5), stream(5)])
    pieces = path.read_bytes().split(b"binder_observe.crc32")
    assert len(pieces) == 4  # one in the header, one a batch
    keys = [b"binder_observe.crc32"] * 3
    keys[1 + batch] = b"binder_observe.crc33"
    path.write_bytes(b"".join(piece + key for piece, key in zip(pieces, [*keys, b""], strict=True)))
    batches, _, note = read(path)
    assert len(batches) == batch
    assert note is not None
    assert "checksum" in note


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    for name in ("pandas", "matplotlib", "numba"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    code = textwrap.dedent(f"""
        import sys
        sys.path[:0] = {[str(tmp_path), *sys.path]!r}
        from binder_observe.events import from_rows
        from binder_observe.recording import RecordingReader, RecordingWriter
        from binder_observe.sources import Meta
        meta = Meta("simulated", "6.1", "6.1", 4096, "0")
        with RecordingWriter({str(tmp_path / "r.arrow")!r}, meta) as writer:
            writer.write(from_rows([(1, 26, 0, 0, 0, 4, 4, "init"), (2, 31, 0, 0, 0, 0, 0, None)]))
        (batch,) = RecordingReader(writer.path).batches()
        assert batch.names == {{0: "init"}}
    """)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_lock_goes_with_the_writer(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "r.arrow", META)
    with open(tmp_path / "r.arrow", "rb") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        writer.close()
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)

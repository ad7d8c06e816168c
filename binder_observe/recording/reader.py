"""Reads recordings, damaged ones included."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import MISSING, fields
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa

from binder_observe.errors import ObserveError
from binder_observe.events import COLUMNS, FORMAT_VERSION, EventBatch
from binder_observe.recording.format import (
    CRC_KEY,
    DAMAGE,
    FORMAT_KEY,
    KNOWN_KIND,
    MAX_BATCH_BYTES,
    META_KEY,
    TYPES,
    checksum,
    why,
)
from binder_observe.sources import Meta, Piece


class RecordingReader:
    """Reads a recording, a finished, truncated or still growing one, batch by batch.

    Files are read, not mapped: compressed bodies leave nothing to share, and a mapped file that shrinks kills
    its reader. Memory holds one batch. After `batches()` has ended, `truncated` says whether the end mark was
    missing or unreachable, and `note` is a sentence on what was recovered (None: everything is there).

    Raises ObserveError when the file cannot be read, is no recording, or is one of a newer format.
    """

    meta: Meta

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Final = os.fspath(path)
        self.truncated = False
        self.note: str | None = None
        self._fd = _open(self.path)
        self._window: _Window | None = None
        try:
            self._schema, self.meta, self._start = _read_header(self._fd, self.path)
        except BaseException:
            self.close()
            raise

    def batches(self) -> Iterator[EventBatch]:
        """Every complete batch, in order, as read-only arrays; each call starts from the beginning."""
        self.truncated, self.note = False, None
        source = self._window = _Window(self._fd, self._start)
        file = pa.PythonFile(source, mode="r")
        header = self._schema.serialize().to_pybytes()
        done = batches = events = 0  # `done`: where the last complete batch ends, from `_start`
        checksums = False  # whether this file has them: one that another tool has rewritten does not
        reason: str | None = None
        while True:
            try:
                message = pa.ipc.read_message(file)
                _check_size(message)
                batch, checked = _decode(header, message)
                if checksums and not checked:
                    raise ValueError("the checksum of the rows is missing")
            except EOFError:
                if done < source.position < source.size:
                    reason = "an end mark that is not the end"
                break
            except DAMAGE as error:
                reason = str(error).split("\n", maxsplit=1)[0]
                break
            done = source.position
            checksums = checked
            batches += 1
            events += len(batch)
            yield batch
        if reason is None and source.position > done:
            return  # the end mark was read
        self.truncated = True
        recovered = f"{events:,} events in {batches:,} complete batch{'es' * (batches != 1)}"
        self.note = self._note(recovered, source, done, reason)

    @property
    def fraction(self) -> float:
        """How much of the file `batches()` has read, 0 to 1."""
        window = self._window
        return window.position / window.size if window and window.size else 0.0

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _note(self, recovered: str, source: _Window, done: int, reason: str | None) -> str:
        rest = source.size - done
        if reason is not None and not source.ran_out:
            return (
                f"{self.path} is damaged at byte {self._start + done:,} ({reason}): {recovered} before that "
                f"were read, {rest:,} bytes were not"
            )
        alive = _is_locked(self._fd)
        state = "is still being written" if alive else "has no end mark (its writer was stopped short)"
        left = f", {rest:,} bytes after them are no complete batch" if rest else ""
        return f"{self.path} {state}: {recovered} were read{left}"


class _Window:
    """A file for Arrow's message reader: from `start` to where the file ended when this was made.

    It never asks the kernel for more than there is, so a damaged length costs nothing.
    """

    closed = False

    def __init__(self, fd: int, start: int) -> None:
        self._fd = fd
        self._start = start
        self.size = max(0, os.fstat(fd).st_size - start)
        self.position = 0
        self.ran_out = False  # more was asked for than there is

    def read(self, size: int) -> bytes:
        wanted = min(size, self.size - self.position)
        data = os.pread(self._fd, wanted, self._start + self.position) if wanted > 0 else b""
        self.ran_out = len(data) < size
        self.position += len(data)
        return data


def _open(path: str) -> int:
    try:
        # O_NONBLOCK: opening a FIFO must not wait for its writer
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise ObserveError(f"cannot open {path}: {why(error)}") from error
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
    raise ObserveError(f"{path} is {what}; name a recording")


def _read_header(fd: int, path: str) -> tuple[Any, Meta, int]:
    """The schema, what it says, and where the batches begin."""
    not_ours = f"{path} is not a binder-observe recording"
    source = _Window(fd, 0)
    if not source.size:
        raise ObserveError(f"{not_ours}: it is empty")
    try:
        message = pa.ipc.read_message(pa.PythonFile(source, mode="r"))
        if message.type != "schema":  # read_schema() would take any message for one, and crash
            raise ValueError(message.type)
        schema = pa.ipc.read_schema(message)
        metadata = dict(schema.metadata or {})
    except (*DAMAGE, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ObserveError(f"cannot read {path}: {error.strerror}") from error
        why = "cut off" if source.ran_out else "damaged"
        raise ObserveError(f"{not_ours}, or its header is {why}") from error
    if FORMAT_KEY not in metadata or META_KEY not in metadata:
        raise ObserveError(f"{not_ours}: it is an Arrow stream of another kind")
    text, version = metadata[META_KEY], metadata[FORMAT_KEY]
    if metadata.get(CRC_KEY) != b"%08x" % zlib.crc32(text) or not version.isdigit():
        raise ObserveError(f"the header of {path} is damaged; its recording cannot be read")
    if int(version) > FORMAT_VERSION:
        raise ObserveError(
            f"{path} has format {int(version)} and this binder-observe reads up to {FORMAT_VERSION}; "
            "upgrade it to read the recording"
        )
    wanted = {**TYPES, "name": pa.utf8()}
    if any(schema.get_field_index(c) < 0 or schema.field(c).type != t for c, t in wanted.items()):
        raise ObserveError(f"{path} lacks columns of a recording of format {int(version)}")
    try:
        return schema, _parse_meta(text), source.position
    except (ValueError, TypeError) as error:
        raise ObserveError(f"the header of {path} is damaged: {error}") from error


def _parse_meta(text: bytes) -> Meta:
    """Keys that a later tool of the same format may have added are ignored."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("its description is no object")
    if values.get("piece") is not None:
        values["piece"] = Piece(**values["piece"])
    known = {f.name for f in fields(Meta)}
    needed = {f.name for f in fields(Meta) if f.default is MISSING and f.default_factory is MISSING}
    if missing := sorted(needed - values.keys()):
        raise ValueError(f"it does not say {', '.join(missing)}")
    return Meta(**{key: value for key, value in values.items() if key in known})


def _check_size(message: Any) -> None:
    """Raises ValueError if the batch says that it decompresses to more than a batch may hold.

    Arrow allocates what a compressed buffer's first eight bytes ask for; only the message's flatbuffer, which
    Arrow has verified by then, says where those buffers are (Message.header, RecordBatch.buffers in Arrow's
    format/Message.fbs).
    """
    if message.type != "record batch":
        raise ValueError(f"a {message.type} message where a record batch belongs")
    metadata, body = memoryview(message.metadata), memoryview(message.body)

    def follow(at: int) -> int:
        return at + int(struct.unpack_from("<I", metadata, at)[0])

    def slot(table: int, index: int) -> int:
        vtable = table - struct.unpack_from("<i", metadata, table)[0]
        size = struct.unpack_from("<H", metadata, vtable)[0]
        offset = struct.unpack_from("<H", metadata, vtable + 4 + 2 * index)[0] if 4 + 2 * index < size else 0
        return table + int(offset) if offset else 0

    header = follow(slot(follow(0), 2))
    if not slot(header, 3):  # RecordBatch.compression
        return
    vector = follow(slot(header, 2))
    total = 0
    for i in range(struct.unpack_from("<I", metadata, vector)[0]):
        offset, length = struct.unpack_from("<qq", metadata, vector + 4 + 16 * i)
        if length == 0:
            continue
        if offset < 0 or length < 8 or offset + length > len(body):
            raise ValueError("a buffer lies outside its batch")
        size = struct.unpack_from("<q", body, offset)[0]
        if size < -1:  # -1: stored as it is
            raise ValueError("a buffer of negative size")
        total += size if size >= 0 else length
    if total > MAX_BATCH_BYTES:
        raise ValueError(f"a batch that says it holds {total:,} bytes")


def _decode(header: bytes, message: Any) -> tuple[EventBatch, bool]:
    """The events, and whether there was a checksum for them."""
    stream = pa.ipc.open_stream(pa.py_buffer(header + message.serialize().to_pybytes()))
    batch, metadata = stream.read_next_batch_with_custom_metadata()
    batch.validate(full=True)  # lengths against buffers first of all: arrays are views
    columns = {c: batch.column(c).to_numpy(zero_copy_only=True) for c in COLUMNS}
    names = _names(batch.column("name"))
    # zstd frames in Arrow have no checksum of their own, so a flipped byte can decode to other rows
    checked = metadata is not None and len(metadata) > 0
    if checked and dict(metadata).get(CRC_KEY) != checksum(columns, names):
        raise ValueError("the checksum of the rows is wrong")
    if not KNOWN_KIND[columns["kind"]].all():
        raise ValueError("an event kind that does not exist")
    return EventBatch(**columns, names=names), checked


def _names(column: Any) -> dict[int, str]:
    if column.null_count == len(column):
        return {}
    bitmap = column.buffers()[0]
    if bitmap is None:
        return dict(enumerate(column.to_pylist()))
    bits = np.unpackbits(np.frombuffer(bitmap, dtype=np.uint8), bitorder="little")
    rows = np.flatnonzero(bits[column.offset : column.offset + len(column)])
    return {int(row): column[int(row)].as_py() for row in rows}


def _is_locked(fd: int) -> bool:
    """Whether a writer is at work on the file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno == errno.EWOULDBLOCK
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False

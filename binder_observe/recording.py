"""Recordings: one append-only Arrow IPC stream, zstd-compressed, that any Arrow tool can read.

Columns are those of `events.COLUMNS`, plus `name` (utf8, null except in description rows). The schema's
metadata holds the format version, `Meta` as JSON and its checksum; each record batch carries a checksum
of its rows.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import stat
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from binder_observe.errors import ObserveError
from binder_observe.events import COLUMNS, FORMAT_VERSION, EventBatch, Kind
from binder_observe.sources import Meta

BATCH_ROWS: Final = 65_536
MAX_BATCH_BYTES: Final = 1 << 30
"""A batch that says it decompresses to more is damage: ours stay under 20 MiB."""

_FORMAT_KEY: Final = b"binder_observe.format"
_META_KEY: Final = b"binder_observe.meta"
_CRC_KEY: Final = b"binder_observe.crc32"
_END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_TYPES: Final[Mapping[str, Any]] = {c: pa.from_numpy_dtype(np.dtype(t)) for c, t in COLUMNS.items()}
_KNOWN_KIND: Final = np.isin(np.arange(256), [int(kind) for kind in Kind])
_DAMAGE: Final = (
    pa.ArrowException, OSError, ValueError, LookupError, MemoryError, NotImplementedError, OverflowError,
    struct.error,
)  # fmt: skip


class RecordingWriter:
    """Writes batches to a new file, mode 0600, owned by whoever ran sudo.

    A record batch reaches the kernel once 65,536 rows are waiting or `flush_interval_s` seconds have passed
    since the last one, so SIGKILL loses no more than that if `write()` or `tick()` is called often enough.
    Nothing handed to `write()` is kept: the rows are copied.

    Raises ObserveError when the file exists and `force` is false, when it cannot be created, and, from any
    method, when it cannot be written any more (disk full); everything written before then stays readable.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        meta: Meta,
        *,
        force: bool = False,
        flush_interval_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path: Final = os.fspath(path)
        if self.path == "-":
            raise ObserveError("a recording cannot go to standard output; give the name of a file")
        self.saved_events = 0  # rows that have reached the kernel
        self.saved_bytes = 0
        self._waiting = 0
        self._names: dict[int, str] = {}
        self._columns = {c: np.empty(BATCH_ROWS, dtype=t) for c, t in COLUMNS.items()}
        self._interval_s = flush_interval_s
        self._clock = clock
        self._last_write = clock()
        self._failure: str | None = None
        self._schema = _schema(meta)
        # Arrow would write the schema with the first batch; on disk from the start, it makes a file without
        # events a recording, too.
        self._header: bytes = self._schema.serialize().to_pybytes()
        self._parts = _Parts()
        options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1), use_threads=False)
        self._encoder = pa.ipc.new_stream(self._parts, self._schema, options=options)
        self._fd = _create(self.path, self._header, force)
        self.saved_bytes = len(self._header)

    def write(self, batch: EventBatch) -> None:
        """Takes the rows of a batch; an empty one is a `tick()`."""
        self._check()
        done = 0
        while done < len(batch):
            taken = min(len(batch) - done, BATCH_ROWS - self._waiting)
            for c, column in self._columns.items():
                column[self._waiting : self._waiting + taken] = getattr(batch, c)[done : done + taken]
            for row, name in batch.names.items():
                if done <= row < done + taken:
                    self._names[self._waiting + row - done] = name
            self._waiting += taken
            done += taken
            if self._waiting == BATCH_ROWS:
                self.flush()
        self.tick()

    def tick(self) -> None:
        """Flushes rows that have waited for the flush interval."""
        if self._waiting and self._clock() - self._last_write >= self._interval_s:
            self.flush()

    def flush(self) -> None:
        """Hands every waiting row to the kernel."""
        self._check()
        if not self._waiting:
            return
        data = self._encode()
        try:
            _write_all(self._fd, data)
        except OSError as error:
            self._fail(error)
        self.saved_events += self._waiting
        self.saved_bytes += len(data)
        self._waiting = 0
        self._names = {}
        self._last_write = self._clock()

    def close(self) -> None:
        """Flushes, writes the end mark and closes the file; a second call does nothing."""
        if self._fd < 0:
            return
        try:
            if self._failure is None:
                self.flush()
                try:
                    _write_all(self._fd, _END)
                except OSError as error:
                    self._fail(error)
        finally:
            fd, self._fd = self._fd, -1
            # the stream writer must not find its file gone when it is collected
            with contextlib.suppress(pa.ArrowException):
                self._encoder.close()
            try:
                os.close(fd)
            except OSError as error:  # quota and network file systems may say only now that there is no room
                if self._failure is None:
                    raise ObserveError(f"cannot finish {self.path}: {error.strerror}") from error

    def fileno(self) -> int:
        return self._fd

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _encode(self) -> bytes:
        n = self._waiting
        columns = {c: column[:n] for c, column in self._columns.items()}
        arrays = [pa.Array.from_buffers(_TYPES[c], n, [None, pa.py_buffer(a)]) for c, a in columns.items()]
        batch = pa.RecordBatch.from_arrays([*arrays, _name_array(n, self._names)], schema=self._schema)
        self._encoder.write_batch(batch, custom_metadata={_CRC_KEY: _checksum(columns, self._names)})
        # the first one has the schema in front
        return self._parts.take().removeprefix(self._header)

    def _check(self) -> None:
        if self._failure is not None:
            raise ObserveError(self._failure)
        if self._fd < 0:
            raise ValueError("the recording is closed")

    def _fail(self, error: OSError) -> NoReturn:
        # Half a batch helps nobody: without it the file ends where the last whole one does.
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self.saved_bytes)
        lost = f", the {self._waiting:,} that came after them are not" if self._waiting else ""
        self._failure = (
            f"cannot write to {self.path}: {error.strerror}; the {self.saved_events:,} events recorded until "
            f"then are saved and readable{lost}"
        )
        raise ObserveError(self._failure) from error


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
        try:
            self._schema, self.meta, self._start = _read_header(self._fd, self.path)
        except BaseException:
            self.close()
            raise

    def batches(self) -> Iterator[EventBatch]:
        """Every complete batch, in order, as read-only arrays; each call starts from the beginning."""
        self.truncated, self.note = False, None
        source = _Window(self._fd, self._start)
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
            except _DAMAGE as error:
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


class _Parts:
    """A file for Arrow's stream writer that collects: a batch goes to the kernel in one write."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None: ...

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


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


def _schema(meta: Meta) -> Any:
    text = json.dumps(meta.to_dict(), sort_keys=True).encode()
    columns = [pa.field(c, t, nullable=False) for c, t in _TYPES.items()]
    metadata = {_FORMAT_KEY: b"%d" % FORMAT_VERSION, _META_KEY: text, _CRC_KEY: b"%08x" % zlib.crc32(text)}
    return pa.schema([*columns, pa.field("name", pa.utf8())], metadata=metadata)


def _name_array(n: int, names: Mapping[int, str]) -> Any:
    if not names:
        return pa.nulls(n, pa.utf8())
    valid = np.zeros(n, dtype=np.bool_)
    lengths = np.zeros(n + 1, dtype=np.int32)
    texts = []
    for row in sorted(names):
        texts.append(_encoded(names[row]))
        valid[row] = True
        lengths[row + 1] = len(texts[-1])
    buffers = [np.packbits(valid, bitorder="little"), np.cumsum(lengths, dtype=np.int32), b"".join(texts)]
    return pa.Array.from_buffers(pa.utf8(), n, [pa.py_buffer(b) for b in buffers])


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "backslashreplace")  # a task may call itself anything


def _checksum(columns: Mapping[str, NDArray[Any]], names: Mapping[int, str]) -> bytes:
    crc = 0
    for column in columns.values():
        crc = zlib.crc32(column.data, crc)
    for row in sorted(names):
        crc = zlib.crc32(b"%d=%s\n" % (row, _encoded(names[row])), crc)
    return b"%08x" % crc


def _create(path: str, header: bytes, force: bool) -> int:
    """Makes the file with its header in place; a file that was there is replaced whole or not at all."""
    target = path
    try:
        if force and os.path.lexists(path):
            _refuse_special(path)
            # A new file under another name takes over: no old mode, owner or hard link comes with it.
            target = os.path.join(os.path.dirname(path), f".binder-observe-{secrets.token_hex(4)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(target, flags, 0o600)
    except FileExistsError as error:
        with contextlib.suppress(FileNotFoundError):
            _refuse_special(path)
        raise ObserveError(f"{path} already exists; -f overwrites it") from error
    except (OSError, ValueError) as error:
        raise ObserveError(f"cannot create {path}: {_why(error)}") from error
    try:
        _give_to_invoker(fd)
        with contextlib.suppress(OSError):  # only tells readers that the file is alive
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_all(fd, header)
        if target != path:
            os.rename(target, path)
    except BaseException as error:
        os.close(fd)
        os.unlink(target)
        if isinstance(error, OSError):
            raise ObserveError(f"cannot create {path}: {_why(error)}") from error
        raise
    return fd


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _refuse_special(path: str) -> None:
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        raise ObserveError(f"{path} is a symbolic link, which is not followed; name the file itself")
    if stat.S_ISDIR(mode):
        raise ObserveError(f"{path} is a directory; name a file in it")
    if not stat.S_ISREG(mode):
        raise ObserveError(f"{path} is not a regular file, so it cannot hold a recording")


def _give_to_invoker(fd: int) -> None:
    """Under sudo the file belongs to whoever ran it, or they could not read what they asked for."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and uid.isdecimal() and gid.isdecimal():
        with contextlib.suppress(OSError):  # a file system without owners
            os.fchown(fd, int(uid), int(gid))


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _open(path: str) -> int:
    try:
        # O_NONBLOCK: opening a FIFO must not wait for its writer
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise ObserveError(f"cannot open {path}: {_why(error)}") from error
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
    except (*_DAMAGE, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ObserveError(f"cannot read {path}: {error.strerror}") from error
        why = "cut off" if source.ran_out else "damaged"
        raise ObserveError(f"{not_ours}, or its header is {why}") from error
    if _FORMAT_KEY not in metadata or _META_KEY not in metadata:
        raise ObserveError(f"{not_ours}: it is an Arrow stream of another kind")
    text, version = metadata[_META_KEY], metadata[_FORMAT_KEY]
    if metadata.get(_CRC_KEY) != b"%08x" % zlib.crc32(text) or not version.isdigit():
        raise ObserveError(f"the header of {path} is damaged; its recording cannot be read")
    if int(version) > FORMAT_VERSION:
        raise ObserveError(
            f"{path} has format {int(version)} and this binder-observe reads up to {FORMAT_VERSION}; "
            "upgrade it to read the recording"
        )
    wanted = {**_TYPES, "name": pa.utf8()}
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
    if checked and dict(metadata).get(_CRC_KEY) != _checksum(columns, names):
        raise ValueError("the checksum of the rows is wrong")
    if not _KNOWN_KIND[columns["kind"]].all():
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

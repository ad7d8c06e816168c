"""Writes recordings."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, NoReturn, Self

import numpy as np
import pyarrow as pa

from binder_observe.errors import ObserveError
from binder_observe.events import COLUMNS, EventBatch
from binder_observe.files import create_private, refuse_stdout, write_all
from binder_observe.recording.format import (
    BATCH_ROWS,
    CRC_KEY,
    END,
    TYPES,
    ZSTD_LEVEL,
    checksum,
    name_array,
    schema,
)
from binder_observe.sources import Meta


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
        refuse_stdout(self.path)
        self.saved_events = 0  # rows that have reached the kernel
        self.saved_bytes = 0
        self._waiting = 0
        self._names: dict[int, str] = {}
        self._columns = {c: np.empty(BATCH_ROWS, dtype=t) for c, t in COLUMNS.items()}
        self._interval_s = flush_interval_s
        self._clock = clock
        self._last_write = clock()
        self._failure: str | None = None
        self._schema = schema(meta)
        # Arrow would write the schema with the first batch; on disk from the start, it makes a file without
        # events a recording, too.
        self._header: bytes = self._schema.serialize().to_pybytes()
        self._parts = _Parts()
        options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", ZSTD_LEVEL), use_threads=False)
        self._encoder = pa.ipc.new_stream(self._parts, self._schema, options=options)
        self._fd = create_private(self.path, self._header, force)
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
            write_all(self._fd, data)
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
                    write_all(self._fd, END)
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
        arrays = [pa.Array.from_buffers(TYPES[c], n, [None, pa.py_buffer(a)]) for c, a in columns.items()]
        batch = pa.RecordBatch.from_arrays([*arrays, name_array(n, self._names)], schema=self._schema)
        self._encoder.write_batch(batch, custom_metadata={CRC_KEY: checksum(columns, self._names)})
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

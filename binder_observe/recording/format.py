"""What the writer and the reader of recordings share: keys, columns and checksums."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from binder_observe.events import COLUMNS, FORMAT_VERSION, Kind
from binder_observe.sources import Meta

BATCH_ROWS: Final = 65_536
ZSTD_LEVEL: Final = 2
MAX_BATCH_BYTES: Final = 1 << 30
"""A batch that says it decompresses to more is damage: ours stay under 20 MiB."""

FORMAT_KEY: Final = b"binder_observe.format"
META_KEY: Final = b"binder_observe.meta"
CRC_KEY: Final = b"binder_observe.crc32"
END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
TYPES: Final[Mapping[str, Any]] = {c: pa.from_numpy_dtype(np.dtype(t)) for c, t in COLUMNS.items()}
KNOWN_KIND: Final = np.isin(np.arange(256), [int(kind) for kind in Kind])
DAMAGE: Final = (
    pa.ArrowException, OSError, ValueError, LookupError, MemoryError, NotImplementedError, OverflowError,
    struct.error,
)  # fmt: skip


def schema(meta: Meta) -> Any:
    text = json.dumps(meta.to_dict(), sort_keys=True).encode()
    columns = [pa.field(c, t, nullable=False) for c, t in TYPES.items()]
    metadata = {FORMAT_KEY: b"%d" % FORMAT_VERSION, META_KEY: text, CRC_KEY: b"%08x" % zlib.crc32(text)}
    return pa.schema([*columns, pa.field("name", pa.utf8())], metadata=metadata)


def name_array(n: int, names: Mapping[int, str]) -> Any:
    if not names:
        return pa.nulls(n, pa.utf8())
    valid = np.zeros(n, dtype=np.bool_)
    lengths = np.zeros(n + 1, dtype=np.int32)
    texts = []
    for row in sorted(names):
        texts.append(encoded(names[row]))
        valid[row] = True
        lengths[row + 1] = len(texts[-1])
    buffers = [np.packbits(valid, bitorder="little"), np.cumsum(lengths, dtype=np.int32), b"".join(texts)]
    return pa.Array.from_buffers(pa.utf8(), n, [pa.py_buffer(b) for b in buffers])


def encoded(name: str) -> bytes:
    return name.encode("utf-8", "backslashreplace")  # a task may call itself anything


def checksum(columns: Mapping[str, NDArray[Any]], names: Mapping[int, str]) -> bytes:
    crc = 0
    for column in columns.values():
        crc = zlib.crc32(column.data, crc)
    for row in sorted(names):
        crc = zlib.crc32(b"%d=%s\n" % (row, encoded(names[row])), crc)
    return b"%08x" % crc


def why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)

"""Recordings: one append-only Arrow IPC stream, zstd-compressed, that any Arrow tool can read.

Columns are those of `events.COLUMNS`, plus `name` (utf8, null except in description rows). The schema's
metadata holds the format version, `Meta` as JSON and its checksum; each record batch carries a checksum
of its rows.
"""

from __future__ import annotations

from binder_observe.recording.format import BATCH_ROWS
from binder_observe.recording.reader import RecordingReader
from binder_observe.recording.writer import RecordingWriter

__all__ = ["BATCH_ROWS", "RecordingReader", "RecordingWriter"]

"""A source cut off at a point in time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from binder_observe.events import DTYPE, EventBatch, Kind, concat, from_records
from binder_observe.sources import Meta, Source


class Until:
    """The events of `source` up to `end_ns` (CLOCK_BOOTTIME), then DETACH there."""

    def __init__(self, source: Source, end_ns: int) -> None:
        self._source = source
        self._end_ns = end_ns

    @property
    def meta(self) -> Meta:
        return self._source.meta

    def batches(self) -> Iterator[EventBatch]:
        for batch in self._source.batches():
            # by position, not by time: order is causal, and clocks of two CPUs can differ by a little
            late = np.flatnonzero(batch.ts_ns > self._end_ns)
            if len(late):
                detach = np.array([(self._end_ns, Kind.DETACH, 0, 0, 0, 0, 0)], dtype=DTYPE)
                yield concat([batch.slice(0, int(late[0])), from_records(detach)])
                return
            yield batch

    def stop(self) -> None:
        self._source.stop()

    def close(self) -> None:
        self._source.close()

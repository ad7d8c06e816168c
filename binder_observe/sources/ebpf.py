"""The live source: the kernel's own events through BPF.

The kernel side numbers the allocs, so that no address of one ever reaches this process. Each record carries how many
events its alloc has lost so far, which puts every gap at its place in the stream; what is lost after an alloc's last
record is found by reading the table.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe import __version__
from binder_observe.errors import ObserveError, UnsupportedError
from binder_observe.events import DTYPE, NO_ALLOC, EventBatch, Kind, concat, from_records
from binder_observe.sources import Meta, skips, snapshot
from binder_observe.sources.btf import Btf, generation
from binder_observe.sources.filter import Filter
from binder_observe.sources.probes import DEFAULT_RING_BYTES, Probes, layout, tracepoints_are_preemptible
from binder_observe.sources.ring import Ring
from binder_observe.sources.selection import Scope, Selection
from binder_observe.sources.stream import first_rows, insert, row

_SHORTEST_S: Final = 0.001
_LONGEST_S: Final = 0.1
_BUSY: Final = 0.125  # a ring fuller than this when it is read is read sooner the next time
_LOOKS: Final = 3
_STEPS: Final = 64  # of a walk, from one look at the ring to the next
_WALK_INTERVAL_S: Final = 1.0  # at least, between two walks that mend gaps
_NAMES_S: Final = 60.0  # how long a name that was read is believed: a pid may be used again, a process renamed
_WIDENED_NS: Final = 1_000_000_000  # of probes/record.h
_GOODBYE_S: Final = 2.0  # how long the release of an ended process's allocs is waited for


class EbpfSource:
    """Live events, of the allocs that are selected.

    The probes are attached when the object is made; `close()` leaves nothing behind. With pids, `batches()` ends when
    the last of them is gone. With names alone it goes on: a process that gets one later is picked up. A mapping that
    was picked up is followed to its end, whatever its owner is called then.

    With `wait`, nobody need be there yet; `waiting` says that nobody was.

    Raises:
        UnsupportedError: this machine cannot do it.
        ObserveError: a pid does not exist or has no binder open, or nobody has one of the names and contexts.
    """

    def __init__(
        self,
        selection: Selection = Selection(),  # noqa: B008 - it is frozen
        *,
        wait: bool = False,
        latency: bool = False,
        ring_bytes: int = DEFAULT_RING_BYTES,
        command: str = "",
    ) -> None:
        self._init_state()
        self._filter = Filter(selection, wait=wait)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            with Btf.load() as btf:
                offsets, found = layout(btf), generation(btf)
                structs = ("binder_lru_page", "binder_shrinker_mdata")
                sizes = {name: btf.sizeof(name) for name in structs if btf.has_struct(name)}
                spares = tracepoints_are_preemptible(btf, os.uname().version)
                walk = self._walk_layout(btf)
                skip = self._skip_layout(btf) if latency else None
                pid_table = self._filter.process_layout(btf)
            self._probes = Probes(offsets, selection, latency, ring_bytes, spares, walk, pid_table, skip)
        except BaseException:
            self._close_fds()
            raise
        try:
            self._ring = Ring(*self._probes.ring)
            self._filter.set(self._probes)
            self._attach()
        except BaseException:
            self._probes.close()
            self._close_fds()
            raise
        self.missing = self._probes.missing
        self.meta = Meta(
            source="live",
            kernel=os.uname().release,
            generation=found,
            page_size=os.sysconf("SC_PAGESIZE"),
            tool_version=__version__,
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            clock_offset_ns=time.clock_gettime_ns(time.CLOCK_REALTIME) - self._attach_ns,
            command=command,
            filters=self._filter.to_dict(),
            probes=self._probes.attached,
            struct_bytes=sizes,
            notes=[*self._filter.notes, *self._notes, *self._probes.notes],
        )

    def _init_state(self) -> None:
        self._seen_tgids = np.zeros(1 << 22, dtype=bool)  # PID_MAX_LIMIT, include/linux/threads.h
        self._forget_names = 0.0
        self._lost_of = np.full(1024, -1, dtype=np.int64)  # by alloc number; -1: not described yet
        self._lost_placed = 0  # events lost that are told, of all allocs
        self._lost_unplaced = 0  # events lost that belong to no alloc we know
        self._notes: list[str] = []
        self._filter = Filter()
        self.waiting = False
        self._walks = False  # page states can be read from the kernel
        self._torn = False  # pages may be unknown: since a gap, or since attach
        self._stopping = False
        self._attach_ns = 0
        self._walk_ns = 0  # when the last walk began

    def _walk_layout(self, btf: Btf) -> dict[str, int] | None:
        try:
            found = snapshot.layout(btf) | {"BINDER_PROCS": snapshot.binder_procs()}
        except UnsupportedError as error:
            self._notes.append(f"page states cannot be read: {error}")
            return None
        self._walks = True
        return found

    def _skip_layout(self, btf: Btf) -> dict[str, int] | None:
        try:
            return skips.layout(btf)
        except UnsupportedError as error:
            self._notes.append(f"what the shrinker skips is not seen: {error}")
            return None

    def _attach(self) -> None:
        """Attaches the probes and takes the first steps of the walk, whose records wait in the ring."""
        self._probes.attach()
        self._lost_unplaced = self._misses(0)  # while some were not attached: before the observation
        self._attach_ns = _now()
        if self._walks:
            try:
                self._probes.walk_step()
                self._need_somebody()
            except UnsupportedError as error:
                self._notes.append(f"page states cannot be read: {error}")
                self._walks = False

    def _need_somebody(self) -> None:
        """Walks until somebody is found who is selected. A process of --pid may have nothing mapped."""
        selection, wait = self._filter.selection, self._filter.wait
        if not (wait or selection.names or selection.contexts):
            return
        step = snapshot.Step.MORE
        while step in (snapshot.Step.MORE, snapshot.Step.BUSY) and not self._probes.any_selected():
            step = self._probes.walk_step()
            if step == snapshot.Step.BUSY:
                time.sleep(_SHORTEST_S)
        self.waiting = not self._probes.any_selected()
        if self.waiting and not wait:
            raise ObserveError(f"nobody who has binder mapped fits {selection}; --wait waits for one")

    def batches(self) -> Iterator[EventBatch]:
        yield self._mark(Kind.ATTACH, self._attach_ns)
        yield from self._walk()
        # Once more soon: a mapping that was being made while the probes were attached is seen by none of them, and the
        # first walk may have come by before there was anything to read.
        self._torn = True
        wait = _LONGEST_S
        next_walk = time.monotonic() + _WALK_INTERVAL_S
        goodbye: float | None = None
        while not self._stopping:
            records, full = self._ring.drain()
            yield self._batch(records)
            if not len(records) and self._unaccounted():
                yield self._reconcile()
            self._look_around()
            if self._torn and full < _BUSY and time.monotonic() > next_walk:
                yield from self._walk()
                next_walk = time.monotonic() + _WALK_INTERVAL_S
            if goodbye is None and self._filter.all_ended():
                goodbye = time.monotonic() + _GOODBYE_S
            if goodbye is not None and (time.monotonic() > goodbye or self._all_released()):
                break
            wait = max(wait / 4, _SHORTEST_S) if full > _BUSY else min(wait * 1.5, _LONGEST_S)
            if select.select([self._wake], [], [], wait)[0]:
                os.eventfd_read(self._wake)
        if self._unaccounted():
            yield self._reconcile()
        if self._torn:
            yield from self._walk()
        self._probes.detach()
        detach_ns = _now()
        while len(records := self._ring.drain()[0]):
            yield self._batch(records)
        yield self._reconcile()
        yield self._mark(Kind.DETACH, detach_ns)

    def _walk(self) -> Iterator[EventBatch]:
        """Reads the state of every page of every open alloc into the stream (probes/snapshot.c)."""
        self._torn = False
        self._walk_ns = _now()
        step = snapshot.Step.MORE if self._walks else snapshot.Step.DONE
        steps = 0
        while step != snapshot.Step.DONE:
            step = self._probes.walk_step()
            steps += 1
            if step == snapshot.Step.BUSY:
                time.sleep(_SHORTEST_S)
            if step != snapshot.Step.MORE or steps % _STEPS == 0:
                yield self._batch(self._ring.drain()[0])

    def _look_around(self) -> None:
        """Who has come or gone since the last look. What those have who fit the selection now is to be walked."""
        self._filter.update(self._probes)
        # A walk that comes at once may come before the new name, whose tracepoint comes first: another one later.
        if self._probes.widened_ns() > self._walk_ns - _WIDENED_NS:
            self._torn = True

    def stop(self) -> None:
        self._stopping = True
        os.eventfd_write(self._wake, 1)

    def hurry(self) -> None:
        """Makes the next batch come at once."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        self._probes.close()
        self._ring.close()
        self._close_fds()

    def scope(self) -> Scope:
        """Which of the kernel's own counts are of what is observed."""
        return self._filter.scope(complete=self._walks)

    def _close_fds(self) -> None:
        self._filter.close()
        os.close(self._wake)

    def _all_released(self) -> bool:
        return not any(not released for _, released in self._probes.lost_by_alloc().values())

    def _mark(self, kind: Kind, ts_ns: int) -> EventBatch:
        return from_records(row(ts_ns, kind))

    def _unaccounted(self) -> bool:
        return self._probes.lost_totals()[0] > self._lost_placed or self._unplaced() > self._lost_unplaced

    def _unplaced(self) -> int:
        """Events lost that belong to no alloc we know: no room in the table of allocs, or no program was run.

        It counts from when the probes were loaded; `_lost_unplaced` is what of it is accounted for.
        """
        return self._misses(self._lost_unplaced)

    def _misses(self, known: int) -> int:
        """`known`, or more: a miss is certain only when no spare has taken the event within a few looks."""
        looks: list[int] = []
        while len(looks) < _LOOKS:
            if looks:
                time.sleep(_LONGEST_S)
            looks.append(self._probes.lost_totals()[1] + max(self._probes.missed(), 0))
            if looks[-1] <= known:
                return known
        return min(looks)

    def _batch(self, records: NDArray[np.void]) -> EventBatch:
        """Records in the schema, with descriptions and gaps put in where they belong."""
        records = self._since_attach(records)
        if not len(records):
            return from_records(np.zeros(0, dtype=DTYPE))
        self._grow(int(records["alloc"].max()))
        if time.monotonic() > self._forget_names:
            self._seen_tgids[:] = False
            self._seen_tgids[0] = True  # the idle task has no name in /proc, and page states no task
            self._forget_names = time.monotonic() + _NAMES_S
        records = snapshot.expand(snapshot.without_stale(records, self._lost_of))
        rows = np.zeros(len(records), dtype=DTYPE)
        for column in DTYPE.names or ():
            rows[column] = records[column]
        extra: list[tuple[int, NDArray[np.void], str | None]] = []  # before which row, the row, its name
        names: dict[int, str] = {}
        before = self._lost_of[records["alloc"]]

        for number, at in first_rows(records["alloc"], before < 0):
            self._introduce(number, at, records, rows, extra, names)
        lost_key = records["alloc"].astype(np.int64) << 32 | records["lost"]
        for key, at in sorted(first_rows(lost_key, records["lost"] > before), key=lambda found: found[1]):
            self._gap(key >> 32, key & 0xFFFF_FFFF, at, int(records["ts_ns"][at]), extra)
        for tgid, at in first_rows(records["tgid"], ~self._seen_tgids[records["tgid"]]):
            self._seen_tgids[tgid] = True
            name = self._filter.name(self._probes, tgid)
            if name is not None:
                extra.append((at, row(int(records["ts_ns"][at]), Kind.PROCESS, tgid=tgid), name))
        for number in records["alloc"][records["kind"] == Kind.RELEASE_END]:
            self._probes.forget(int(number))
        return insert(rows, extra, names)

    def _since_attach(self, records: NDArray[np.void]) -> NDArray[np.void]:
        """Without the events from when only some of the probes were attached: they do not tell the whole story."""
        early = records["ts_ns"] < self._attach_ns
        if not early.any():
            return records
        for number in records["alloc"][early & (records["kind"] == Kind.RELEASE_END)]:
            self._probes.forget(int(number))
        return records[~early]

    def _introduce(
        self,
        number: int,
        at: int,
        records: NDArray[np.void],
        rows: NDArray[np.void],
        extra: list[tuple[int, NDArray[np.void], str | None]],
        names: dict[int, str],
    ) -> None:
        self._lost_of[number] = 0
        ts_ns = int(records["ts_ns"][at])
        # Its description stays until forget(), which only a RELEASE_END of the same number brings about.
        description = self._probes.description(number)
        pid, pages, high, name, context = description or (0, 0, 0, "", "")
        if records["kind"][at] == Kind.MMAP:
            rows["tgid"][at] = pid
            names[at] = context
        else:
            extra.append((at, row(ts_ns, Kind.ALLOC, number, pages, pid), context))
            if high:
                extra.append((at, row(ts_ns, Kind.SNAPSHOT_HIGH, number, high), None))
        if name:
            self._seen_tgids[pid] = True
            extra.append((at, row(ts_ns, Kind.PROCESS, number, tgid=pid), name))

    def _gap(
        self, number: int, lost: int, at: int, ts_ns: int, extra: list[tuple[int, NDArray[np.void], str | None]]
    ) -> None:
        count = lost - int(self._lost_of[number])
        if count > 0:
            self._lost_of[number] = lost
            self._lost_placed += count
            self._torn = True
            extra.append((at, row(ts_ns, Kind.LOST, number, count), None))

    def _reconcile(self) -> EventBatch:
        """Gaps that no later record has told of."""
        totals = self._probes.lost_by_alloc()
        # Whatever was reserved before the table was read comes before the gap; it is in the ring by now.
        records, _ = self._ring.drain()
        first = self._batch(records)
        extra: list[tuple[int, NDArray[np.void], str | None]] = []
        now = _now()
        for number, (lost, released) in totals.items():
            self._grow(number)
            if self._lost_of[number] < 0 and not (lost or released):
                continue  # its first record is on its way, or the walk met it while it was being torn down
            if self._lost_of[number] < 0:  # not even its first record found room
                self._lost_of[number] = 0
                pid, pages, high, name, context = self._probes.description(number) or (0, 0, 0, "", "")
                extra.append((0, row(now, Kind.ALLOC, number, pages, pid), context))
                extra.append((0, row(now, Kind.SNAPSHOT_HIGH, number, high), None))
                extra.append((0, row(now, Kind.PROCESS, number, tgid=pid), name))
            self._gap(number, lost, 0, now, extra)
            if released:
                released_in_ring = (records["alloc"] == number) & (records["kind"] == Kind.RELEASE_END)
                if not released_in_ring.any():
                    extra.append((0, row(now, Kind.RELEASE_END, number), None))
                self._probes.forget(number)
        unplaced = self._unplaced()
        if unplaced > self._lost_unplaced:
            extra.append((0, row(now, Kind.LOST, NO_ALLOC, unplaced - self._lost_unplaced), None))
            self._lost_unplaced = unplaced
            self._torn = True
        return concat([first, insert(np.zeros(0, dtype=DTYPE), extra, {})])

    def _grow(self, number: int) -> None:
        if number >= len(self._lost_of):
            more = np.full(max(number + 1, 2 * len(self._lost_of)), -1, dtype=np.int64)
            more[: len(self._lost_of)] = self._lost_of
            self._lost_of = more


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

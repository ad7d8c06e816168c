"""Sources: each yields `EventBatch`es in one schema and knows nothing of what follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal, Protocol

from binder_observe.events import FORMAT_VERSION, SHRINKER_CALLBACK, EventBatch

Generation = Literal["6.1", "6.8", "6.14", "unknown"]
"""The allocator's generation by the first kernel that has it: `6.1` (up to 6.7), `6.8` (split install, to 6.13),
`6.14` (shrinker metadata under page->private)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Which part of a rotated recording a file holds; `index` counts from 1, `run` is random and the same in all.

    The first `opening` rows tell what the pieces before led to, so that the file can be read alone. `before` is how
    many of the kernel's events, received and lost, came before it.
    """

    run: str
    index: int
    opening: int = 0
    before: int = 0


@dataclass(frozen=True, slots=True)
class Meta:
    """What holds for a whole observation; goes into every recording and report.

    `struct_bytes` are sizes of the allocator's structs from the kernel's BTF; `clock_offset_ns` is CLOCK_REALTIME minus
    CLOCK_BOOTTIME at attach, None where there is no clock; `notes` are sentences on what this machine would not tell;
    `piece` is None in a recording that is one file.
    """

    source: Literal["live", "simulated", "imported"]
    kernel: str
    generation: Generation
    page_size: int
    tool_version: str
    format_version: int = FORMAT_VERSION
    boot_id: str | None = None
    clock_offset_ns: int | None = None
    command: str = ""
    filters: dict[str, list[str]] = field(default_factory=dict)
    probes: list[str] = field(default_factory=list)
    struct_bytes: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    piece: Piece | None = None

    @property
    def observes_skips(self) -> bool:
        """Whether an LRU_SKIP gives an event: where the shrinker's callback is probed, and in the simulator."""
        return self.source == "simulated" or SHRINKER_CALLBACK in self.probes

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


class Source(Protocol):
    """The contract that `tests/test_sources.py` checks for each source.

    `batches()` yields in causal order: an ATTACH row first, each alloc's ALLOC or MMAP row before any event of it,
    a DETACH row last when the observation ended in order. It may yield empty batches, so that a caller that
    refreshes a screen gets control back.
    """

    @property
    def meta(self) -> Meta: ...

    def batches(self) -> Iterator[EventBatch]: ...

    def stop(self) -> None:
        """Asks `batches()` to end after what has already happened; safe in a signal handler."""

    def close(self) -> None: ...

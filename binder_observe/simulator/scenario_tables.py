"""The tables of a scenario file: every key, with what it means.

Any quantity that varies (marked *) is a number, or a table with one key:

    {uniform = [low, high]}              {exponential = mean}            {lognormal = [median, sigma]}
    {pareto = [minimum, shape, maximum]} {choice = [[quantity, weight], ...]}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from binder_observe.simulator.distributions import Distribution, constant

INFINITE_S: Final = 1e9
_AT_ONCE: Final = constant(0)
_NONE: Final = constant(0)
_SMALL: Final = constant(128)
_STATUS: Final = constant(32)
_MILLISECOND: Final = constant(1e6)  # times in ns, as everywhere
_BRIEFLY: Final = constant(1e5)
_MOMENTARILY: Final = constant(5e3)


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """`[[process]]`: processes of one kind."""

    name: str
    """What they are called (comm); numbered when there are several."""
    count: int = 1
    contexts: tuple[str, ...] = ("binder",)
    """The devices each one opens: one alloc each."""
    mapping_kib: float | None = None
    """Size of each mapping; by default 1 MiB less two pages, as libbinder maps."""
    start_s: Distribution = _AT_ONCE
    """* When each one starts, from the beginning of the run, in s (fractions count)."""
    life_s: Distribution | None = None
    """* How long each one lives; by default to the end."""
    respawn_s: Distribution | None = None
    """* How long after its end a successor starts; by default there is none."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """`[[traffic]]`: threads of one group that send to another."""

    sender: str
    """The group whose processes send."""
    to: str
    """The group they send to: each time a random member, of those alive."""
    kind: Literal["call", "oneway"] = "call"
    context: str = "binder"
    threads: int = 1
    """Sending threads in each process."""
    interval_us: Distribution = _MILLISECOND
    """* Pause between the end of one transaction and the next, us."""
    data_bytes: Distribution = _SMALL
    """* Size of the parcel."""
    objects: Distribution = _NONE
    """* Objects in it: 8 bytes of offsets each (their 24 bytes are part of data_bytes)."""
    extra_bytes: Distribution = _NONE
    """* Buffers sent beside the parcel (scatter-gather, as hwbinder does)."""
    reply_bytes: Distribution = _STATUS
    """* Size of the reply, of a call."""
    handle_us: Distribution = _BRIEFLY
    """* How long the receiver works; of a call until it replies, of a one-way until it frees the buffer."""
    hold_us: Distribution = _MOMENTARILY
    """* How long the sender of a call keeps the reply."""
    leak: float = 0.0
    """Share of received buffers that are never freed (of a one-way that also stops the receiver's queue)."""
    start_s: float = 0.0
    stop_s: float = INFINITE_S
    burst_s: float = INFINITE_S
    """Each sending process does it only so long after its own start, s."""


@dataclass(frozen=True, slots=True)
class Demand:
    """`[[demand]]`: somebody else who takes memory and gives it back."""

    name: str
    pages: Distribution
    """* Pages taken at a time."""
    interval_ms: Distribution
    """* Pause between takings, ms."""
    hold_ms: Distribution
    """* How long they are kept, ms."""
    start_s: float = 0.0
    stop_s: float = INFINITE_S


@dataclass(frozen=True, slots=True)
class Memory:
    """`[memory]`: without it memory never ends."""

    free_pages: int
    """Free pages at the start; the watermarks follow from these and cache_pages."""
    cache_pages: int = 0
    """Clean page cache, which reclaim takes beside binder's parked pages."""


@dataclass(frozen=True, slots=True)
class Reclaim:
    """`[[reclaim]]`: a shell that writes 2 to /proc/sys/vm/drop_caches."""

    interval_ms: Distribution
    """* Pause between two writes, ms."""
    start_s: float = 0.0
    stop_s: float = INFINITE_S


@dataclass(frozen=True, slots=True)
class Fault:
    """`[[fault]]`: see `binder_observe.simulator.faults.FAULTS`."""

    name: str
    rate: float = 0.0
    """Probability at each opportunity."""
    moments: tuple[int, ...] = ()
    """Opportunities, counted from 0, at which it strikes for certain."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole file."""

    name: str
    description: str
    """One line that says what there is to see."""
    process: tuple[ProcessGroup, ...]
    traffic: tuple[Traffic, ...] = ()
    duration_s: float = 10.0
    """Simulated seconds."""
    cpus: int = 8
    """CPUs that the threads are spread over."""
    page_size: int = 4096
    """Bytes: 4096, 16384 or 65536."""
    memory: Memory | None = None
    demand: tuple[Demand, ...] = ()
    reclaim: tuple[Reclaim, ...] = ()
    fault: tuple[Fault, ...] = ()

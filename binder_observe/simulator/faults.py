"""Failure injection: what can fail, at a chosen rate or at chosen moments."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Final

from binder_observe.errors import ObserveError

FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "no_page": "alloc_page() has none",
        "no_metadata": "kzalloc() of struct binder_shrinker_mdata fails; the page is given back (6.14)",
        "no_buffer": "kzalloc() of struct binder_buffer fails",
        "no_vma": "the mapping is gone when a page is to be installed",
        "insert_error": "vm_insert_page() fails with ENOMEM",
        "ebusy": "somebody else installs the page just before us: EBUSY and a look-up that finds the winner (6.14), "
        "a page already there under the mmap lock (6.8)",
        "ebusy_no_winner": "EBUSY, and the look-up finds nobody (6.14)",
        "mm_gone": "the shrinker finds the mm without users",
        "mmap_trylock": "the shrinker fails to lock the mm (mmap lock; the VMA's lock is busy too, 6.14)",
        "alloc_trylock": "the shrinker fails to lock the alloc",
        "invalid_vma": "the shrinker finds another mapping at the page's address",
    }
)


@dataclass(slots=True)
class _Fault:
    rate: float
    moments: Collection[int]
    seen: int = 0
    hits: int = 0


class Faults:
    """Which faults strike. Each kind counts its own opportunities from 0 and draws from its own random numbers,
    so arming one does not move another.
    """

    __slots__ = ("_armed", "_random", "_seed")

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._armed: dict[str, _Fault] = {}
        self._random: dict[str, Random] = {}

    def arm(self, name: str, *, rate: float = 0.0, moments: Iterable[int] = ()) -> None:
        """From now on `name` strikes with probability `rate`, and at each of `moments` (opportunity numbers from 0).

        Raises:
            ObserveError: there is no such fault, or the rate is no probability.
        """
        if name not in FAULTS:
            raise ObserveError(f"there is no fault {name!r}: it must be one of {', '.join(FAULTS)}")
        if not 0 <= rate <= 1:
            raise ObserveError(f"the rate of fault {name!r} is {rate}: it must be from 0 to 1")
        self._armed[name] = _Fault(rate, frozenset(moments))
        self._random[name] = Random(f"{self._seed}:{name}")

    def strikes(self, name: str) -> bool:
        """Whether this opportunity for `name` fails."""
        fault = self._armed.get(name)
        if fault is None:
            return False
        moment = fault.seen
        fault.seen += 1
        hit = moment in fault.moments or (fault.rate > 0 and self._random[name].random() < fault.rate)
        fault.hits += hit
        return hit

    @property
    def hits(self) -> dict[str, int]:
        """How often each armed fault has struck."""
        return {name: fault.hits for name, fault in self._armed.items()}

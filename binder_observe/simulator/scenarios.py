"""Scenario files: read from TOML, and checked on the way. What the keys mean is in scenario_tables.py; the ones that
ship are in scenarios/*.toml.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from importlib import resources
from pathlib import Path
from typing import Any, Final

from binder_observe.errors import ObserveError
from binder_observe.simulator import distributions
from binder_observe.simulator.distributions import Distribution, constant
from binder_observe.simulator.faults import FAULTS
from binder_observe.simulator.scenario_tables import (
    INFINITE_S,
    Demand,
    Fault,
    Memory,
    ProcessGroup,
    Reclaim,
    Scenario,
    Traffic,
)

__all__ = ["Scenario", "load_scenario", "parse_scenario", "scenario_names"]


class _Lines:
    """Where in the text each key stands: by path, as in ("traffic", 1, "leak"). tomllib does not tell."""

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str | int, ...], int] = {}
        table: tuple[str | int, ...] = ()
        counts: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if header := re.match(r"\s*(\[\[?)\s*([\w.\-]+)\s*\]", line):
                name = header[2]
                table = (name,)
                if header[1] == "[[":
                    counts[name] = counts.get(name, -1) + 1
                    table = (name, counts[name])
                self._lines[table] = number
            elif key := re.match(r"""\s*["']?([\w\-]+)["']?\s*=""", line):
                self._lines[(*table, key[1])] = number

    def of(self, path: tuple[str | int, ...]) -> int:
        """The line of the key, or of the closest table around it."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return 1


class _MistakeError(Exception):
    def __init__(self, path: tuple[str | int, ...], reason: str) -> None:
        self.path = path
        self.reason = reason


_NUMBERS: Final[Mapping[str, tuple[int, Callable[..., Distribution]]]] = {
    "uniform": (2, distributions.uniform),
    "lognormal": (2, distributions.lognormal),
    "pareto": (3, distributions.pareto),
}


def _number(value: object, path: tuple[str | int, ...]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _MistakeError(path, f"{value!r} is not a number")
    if value < 0:
        raise _MistakeError(path, f"{value!r} is negative")
    return float(value)


def _integer(value: object, path: tuple[str | int, ...]) -> int:
    number = _number(value, path)
    if number != int(number):
        raise _MistakeError(path, f"{value!r} is not a whole number")
    return int(number)


def _text(value: object, path: tuple[str | int, ...]) -> str:
    if not isinstance(value, str) or not value:
        raise _MistakeError(path, f"{value!r} is not a text")
    return value


def _distribution(value: object, path: tuple[str | int, ...], scale: float = 1.0) -> Distribution:
    """A number or a table of one key, in units of 1/`scale`."""
    if not isinstance(value, dict):
        return constant(_number(value, path) * scale)
    if len(value) != 1:
        raise _MistakeError(path, f"a distribution has one key, this one has {len(value)}")
    name, given = next(iter(value.items()))
    if name == "exponential":
        return distributions.exponential(_number(given, path) * scale)
    if name == "choice":
        if not isinstance(given, list) or not all(isinstance(part, list) and len(part) == 2 for part in given):
            raise _MistakeError(path, "choice takes a list of [quantity, weight]")
        weights = [_number(weight, path) for _, weight in given]
        if not sum(weights):
            raise _MistakeError(path, "the weights of a choice are all 0")
        parts = [_distribution(part, path, scale) for part, _ in given]
        return distributions.choice(parts, weights)
    if name not in _NUMBERS:
        raise _MistakeError(path, f"there is no distribution {name!r}: it must be a number, exponential, choice, "
                       + ", ".join(_NUMBERS))  # fmt: skip
    count, make = _NUMBERS[name]
    if not isinstance(given, list) or len(given) != count:
        raise _MistakeError(path, f"{name} takes a list of {count} numbers")
    numbers = [_number(n, path) for n in given]
    if name == "uniform" and numbers[0] > numbers[1]:
        raise _MistakeError(path, f"uniform from {numbers[0]:g} to {numbers[1]:g} is empty")
    if name == "pareto" and not (numbers[0] > 0 and numbers[1] > 0 and numbers[2] >= numbers[0]):
        raise _MistakeError(path, "pareto takes [minimum > 0, shape > 0, maximum >= minimum]")
    scaled = [n * scale for n in numbers]
    if name in ("lognormal", "pareto"):
        scaled[1] = numbers[1]  # a shape has no unit
    return make(*scaled)


# Distributions of times are kept in ns, whatever unit their key names.
_SCALES: Final[Mapping[str, float]] = {"_s": 1e9, "_ms": 1e6, "_us": 1e3}


def _scale(key: str) -> float:
    return next((scale for suffix, scale in _SCALES.items() if key.endswith(suffix)), 1.0)


def _value(kind: str, key: str, value: object, path: tuple[str | int, ...]) -> object:
    """`value` as the annotation `kind` asks for it."""
    kind = kind.removesuffix(" | None")
    if kind == "Distribution":
        return _distribution(value, path, _scale(key))
    if kind == "str":
        return _text(value, path)
    if kind == "int":
        return _integer(value, path)
    if kind == "float":
        return _number(value, path)
    if kind.startswith("Literal"):
        allowed = re.findall(r"""["'](\w+)["']""", kind)
        if value not in allowed:
            raise _MistakeError(path, f"{value!r} must be one of {', '.join(allowed)}")
        return value
    if not isinstance(value, list):
        raise _MistakeError(path, f"{value!r} is not a list")
    one = _text if kind == "tuple[str, ...]" else _integer
    return tuple(one(v, path) for v in value)


_SECTIONS: Final[Mapping[str, type]] = {
    "process": ProcessGroup,
    "traffic": Traffic,
    "demand": Demand,
    "reclaim": Reclaim,
    "fault": Fault,
}
_RENAMED: Final = {"from": "sender"}  # `from` is no name in Python


def _table(cls: type, table: object, path: tuple[str | int, ...]) -> Any:
    """An instance of the dataclass `cls` from a TOML table."""
    if not isinstance(table, dict):
        raise _MistakeError(path, f"{path[0]} must be a table")
    known = {f.name: f for f in fields(cls)}
    values: dict[str, object] = {}
    for key, value in table.items():
        name = _RENAMED.get(key, key)
        if name not in known or key in _RENAMED.values():
            wanted = ", ".join({v: k for k, v in _RENAMED.items()}.get(n, n) for n in known)
            raise _MistakeError((*path, key), f"there is no key {key!r} here: it must be one of {wanted}")
        values[name] = _value(str(known[name].type), key, value, (*path, key))
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            key = {v: k for k, v in _RENAMED.items()}.get(name, name)
            raise _MistakeError(path, f"the key {key!r} is missing")
    return cls(**values)


def _scenario(name: str, document: dict[str, object]) -> Scenario:
    values: dict[str, Any] = {}
    for key, value in document.items():
        if key in _SECTIONS:
            if not isinstance(value, list):
                raise _MistakeError((key,), f"{key} must be written [[{key}]]")
            values[key] = tuple(_table(_SECTIONS[key], table, (key, i)) for i, table in enumerate(value))
        elif key == "memory":
            values[key] = _table(Memory, value, (key,))
        elif key in ("description", "duration_s", "cpus", "page_size"):
            kind = next(str(f.type) for f in fields(Scenario) if f.name == key)
            values[key] = _value(kind, key, value, (key,))
        else:
            raise _MistakeError((key,), f"there is no key {key!r}: it must be one of description, duration_s, cpus, "
                           f"page_size, memory, {', '.join(_SECTIONS)}")  # fmt: skip
    for key in ("description", "process"):
        if key not in values:
            raise _MistakeError((), f"the key {key!r} is missing")
    scenario = Scenario(name=name, **values)
    _check(scenario)
    return scenario


def _check(scenario: Scenario) -> None:
    """What one key cannot know of another."""
    if scenario.page_size not in (4096, 16384, 65536):
        raise _MistakeError(("page_size",), f"pages of {scenario.page_size} bytes: it must be 4096, 16384 or 65536")
    if scenario.cpus < 1:
        raise _MistakeError(("cpus",), "there must be a CPU")
    if not 0 < scenario.duration_s < INFINITE_S:
        raise _MistakeError(("duration_s",), "a run must last longer than nothing")
    groups: dict[str, ProcessGroup] = {}
    for i, group in enumerate(scenario.process):
        if groups.setdefault(group.name, group) is not group:
            raise _MistakeError(("process", i, "name"), f"there are two groups {group.name!r}")
        if len(group.name.encode()) > 15:
            raise _MistakeError(("process", i, "name"), f"{group.name!r} is longer than a comm, 15 bytes")
        if not group.contexts:
            raise _MistakeError(("process", i, "contexts"), "a process opens at least one context")
        if group.mapping_kib is not None and group.mapping_kib * 1024 < scenario.page_size:
            raise _MistakeError(("process", i, "mapping_kib"), "a mapping has at least one page")
    for i, traffic in enumerate(scenario.traffic):
        for key, name in (("from", traffic.sender), ("to", traffic.to)):
            if name not in groups:
                known = ", ".join(groups)
                raise _MistakeError(("traffic", i, key), f"there is no group {name!r}: it must be one of {known}")
            if traffic.context not in groups[name].contexts:
                raise _MistakeError(("traffic", i, "context"), f"the group {name!r} does not open {traffic.context!r}")
        if traffic.leak > 1:
            raise _MistakeError(("traffic", i, "leak"), f"a share of {traffic.leak:g} is more than all")
    for i, fault in enumerate(scenario.fault):
        if fault.name not in FAULTS:
            known = ", ".join(FAULTS)
            raise _MistakeError(("fault", i, "name"), f"there is no fault {fault.name!r}: it must be one of {known}")
        if fault.rate > 1:
            raise _MistakeError(("fault", i, "rate"), f"a rate of {fault.rate:g} is more than always")


def parse_scenario(text: str, where: str, name: str | None = None) -> Scenario:
    """A scenario from the text of a file.

    Args:
        where: what the file is called in messages.

    Raises:
        ObserveError: with file, line and reason.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"^(.*?) \(at line (\d+), column \d+\)$", str(error))
        reason, line = (place[1], place[2]) if place else (str(error), str(text.count("\n") + 1))
        raise ObserveError(f"{where}:{line}: {reason[:1].lower()}{reason[1:]}") from None
    try:
        return _scenario(name or Path(where).stem, document)
    except _MistakeError as mistake:
        raise ObserveError(f"{where}:{_Lines(text).of(mistake.path)}: {mistake.reason}") from None


def scenario_names() -> list[str]:
    """The scenarios that ship."""
    files = resources.files("binder_observe.simulator") / "scenarios"
    return sorted(file.name.removesuffix(".toml") for file in files.iterdir() if file.name.endswith(".toml"))


def load_scenario(scenario: str | Path) -> Scenario:
    """A scenario that ships, by name, or one of the user's own, by the path of a `.toml` file.

    Raises:
        ObserveError: there is none, or it has a mistake: with file, line and reason.
    """
    path = Path(scenario)
    if isinstance(scenario, str) and path.suffix != ".toml" and "/" not in scenario:
        file = resources.files("binder_observe.simulator") / "scenarios" / f"{scenario}.toml"
        if not file.is_file():
            names = ", ".join(scenario_names())
            raise ObserveError(f"there is no scenario {scenario!r}: it must be one of {names}, or a .toml file")
        return parse_scenario(file.read_text(encoding="utf-8"), f"{scenario}.toml", scenario)
    try:
        return parse_scenario(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ObserveError(f"cannot read the scenario {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ObserveError(f"cannot read the scenario {path}: it is not UTF-8 text") from None

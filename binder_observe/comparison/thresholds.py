"""`--fail-if`: what a change may not do."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from binder_observe.comparison.metrics import BY_NAME
from binder_observe.comparison.result import Check, Comparison
from binder_observe.errors import ObserveError

_OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_SYNTAX: Final = re.compile(
    r"\s*(?P<metric>\w+)\s*(?P<op>[<>]=?)\s*(?P<sign>[+-]?)\s*(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*(?P<percent>%?)\s*"
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """`relative`: `number` is the change of B against A in percent, with its sign; else the value in B."""

    text: str
    metric: str
    op: str
    number: float
    relative: bool

    def check(self, comparison: Comparison) -> Check:
        """Raises ObserveError when the recordings do not tell: what is unknown has not been kept."""
        found = comparison.overall(self.metric)
        known = (found.a is not None or not self.relative) and found.b is not None
        if not known:
            side = "B" if found.b is None else "A"
            raise ObserveError(
                f"--fail-if {self.text!r} cannot be told: {self.metric} is unknown in {side}; "
                f"record for longer, or leave it out"
            )
        if self.relative:
            assert found.change is not None
            value = 100 * found.change
        else:
            assert found.b is not None
            value = found.b
        past = _OPERATORS[self.op](value, self.number)
        noise = past and self.relative and found.p is not None and not found.significant
        return Check(self.text, "noise" if noise else "crossed" if past else "kept", value, self.metric)


def parse(text: str) -> Threshold:
    """A METRIC OP NUMBER[%]. Raises ValueError with a sentence that says what is wrong and how to write it."""
    found = _SYNTAX.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no threshold; write it like 'installs>+10%' or 'lost_events>0'")
    metric, op, sign, percent = (found[part] for part in ("metric", "op", "sign", "percent"))
    if metric not in BY_NAME:
        raise ValueError(f"{text!r}: there is no metric {metric!r}; --list-metrics names them")
    if bool(sign) != bool(percent):
        raise ValueError(
            f"{text!r} could be a change or a value; write a change with sign and %, like '{metric}{op[0]}+10%', "
            f"a value with neither, like '{metric}{op[0]}10'"
        )
    if sign and (sign == "+") != (op[0] == ">"):
        raise ValueError(f"{text!r} would be crossed by no change at all; > goes with +, and < with -")
    number = float(found["number"])
    return Threshold(text.strip(), metric, op, -number if sign == "-" else number, bool(sign))

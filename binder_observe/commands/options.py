"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from binder_observe.rotation import Rotation

F = TypeVar("F", bound=Callable[..., Any])


def _bytes(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """A size: `65536`, `64K`, `8M`."""
    found = re.fullmatch(r"(\d+)([KMG]?)i?B?", value.strip(), re.IGNORECASE)
    if not found:
        raise click.BadParameter(f"{value!r} is not a size; write it like 65536, 64K or 8M", ctx, param)
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2].upper()]


def _rotate(ctx: click.Context, param: click.Parameter, value: str | None) -> Rotation | None:
    """A size (`64M`) or a time (`10m`); capital letters are sizes."""
    if value is None:
        return None
    from binder_observe.rotation import Rotation

    found = re.fullmatch(r"([1-9]\d*)(?:([KMG])(?:i?B)?|([smh]))", value.strip())
    if not found:
        what = "is neither a size (64M, 1G) nor a time (600s, 10m, 1h)"
        raise click.BadParameter(f"{value!r} {what}", ctx, param)
    number = int(found[1])
    if found[2]:
        return Rotation(size_bytes=number << {"K": 10, "M": 20, "G": 30}[found[2]])
    return Rotation(time_s=number * {"s": 1.0, "m": 60.0, "h": 3600.0}[found[3]])


def rotation(rotate: Rotation | None, keep: int | None, output: str | None) -> Rotation | None:
    """What `rotation_options` ask for. Raises UsageError when they do not go together."""
    if keep is not None and rotate is None:
        raise click.UsageError("--keep goes with --rotate")
    if rotate is not None and output is None:
        raise click.UsageError("--rotate goes with -o")
    return replace(rotate, keep=keep) if rotate else None


def rotation_options(function: F) -> F:
    """In which pieces events are kept."""
    for option in (
        click.option("--keep", type=click.IntRange(min=2), metavar="N",
                     help="With --rotate: only the newest N pieces stay."),
        click.option("--rotate", callback=_rotate, metavar="SIZE|TIME",
                     help="Begin a new file at a size (64M, 1G) or after a time (600s, 10m, 1h), each readable alone."),
    ):  # fmt: skip
        function = option(function)
    return function


POSITIVE = click.FloatRange(min=0, min_open=True)

check_option = click.option(
    "--check",
    type=POSITIVE,
    metavar="S",
    help="Compare with the kernel's own counts every so many seconds, not only at the end.",
)


def live_options(function: F) -> F:
    """What to trace, for how long, and what to show meanwhile."""
    for option in reversed(
        (
            click.option("-p", "--pid", "pids", type=click.IntRange(min=1), multiple=True,
                         help="Only pages owned by this process, whoever caused them; repeatable."),
            click.option("-d", "--duration", type=POSITIVE, metavar="S", help="Stop after so many seconds."),
            click.option("-i", "--interval", type=POSITIVE, default=1.0, show_default=True, metavar="S",
                         help="Seconds between two looks at the state."),
            click.option("--latency", is_flag=True,
                         help="Probe every start and end of the tracepoint class, and what the shrinker skips."),
            click.option("--buffer-size", callback=_bytes, metavar="SIZE", default="8M", show_default=True,
                         help="Size of the BPF ring buffer: a power of two of pages."),
            click.option("-j", "--json", "as_json", is_flag=True, help="Print the report as JSON."),
            click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors."),
            click.option("-v", "--verbose", is_flag=True, help="Say what is attached, and how."),
        )
    ):  # fmt: skip
        function = option(function)
    return function

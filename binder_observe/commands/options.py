"""Options that several commands share."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from binder_observe.rotation import Rotation
    from binder_observe.sources.selection import Selection

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


def _not_empty(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    if "" in values:
        raise click.BadParameter("a name must not be empty", ctx, param)
    return values


POSITIVE = click.FloatRange(min=0, min_open=True)

check_option = click.option(
    "--check",
    type=POSITIVE,
    metavar="S",
    help="Compare with the kernel's own counts every so many seconds, not only at the end.",
)


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What to trace, for how long, and what to show meanwhile; see `live_options` for what each is."""

    pids: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    wait: bool = False
    duration: float | None = None
    interval: float = 1.0
    latency: bool = False
    buffer_size: int = 8 << 20
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    def selection(self) -> Selection:
        from binder_observe.sources.selection import Selection

        return Selection(self.pids, self.names, self.contexts)

    def refuse_kernel_options(self, check: float | None, where: str) -> None:
        """UsageError when an option was given that only this machine's kernel can answer, and it is not asked."""
        given = {
            "--pid": self.pids, "--name": self.names, "--context": self.contexts, "--wait": self.wait,
            "--latency": self.latency, "--check": check is not None,
        }  # fmt: skip
        asked = [option for option, value in given.items() if value]
        if asked:
            verb = "asks" if len(asked) == 1 else "ask"
            raise click.UsageError(
                f"{' and '.join(asked)} {verb} for this machine's kernel, {where} for none: leave one out"
            )

    def check_wait(self) -> None:
        """UsageError when there is nobody to wait for."""
        if self.wait and not self.selection():
            raise click.UsageError("--wait for whom? It goes with --pid, --name or --context")


def live_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options of a live observation; it takes them as `options`, a LiveOptions."""

    @functools.wraps(function)
    def command(*args: Any, **values: Any) -> Any:
        own = {field.name: values.pop(field.name) for field in fields(LiveOptions)}
        return function(*args, options=LiveOptions(**own), **values)

    for option in reversed(
        (
            click.option("-p", "--pid", "pids", type=click.IntRange(min=1), multiple=True,
                         help="Only pages owned by this process, whoever caused them, by its pid as you see it, in a"
                         " container too; repeatable. Ends when the last of them is gone."),
            click.option("-n", "--name", "names", multiple=True, metavar="NAME", callback=_not_empty,
                         help="Only pages owned by processes of this name, one that gets it later included; repeatable."
                         " The whole name as in /proc/PID/comm; of one that is longer than 15 characters, the first or"
                         " the last 15 (Android's apps) have to be equal."),
            click.option("--context", "contexts", multiple=True, metavar="NAME", callback=_not_empty,
                         help="Only mappings of this device: binder, hwbinder, vndbinder or a name in binderfs;"
                         " repeatable. Of --pid, --name and --context, each that is given has to fit."),
            click.option("--wait", is_flag=True,
                         help="When nobody is there yet whom --pid, --name and --context ask for, wait instead of"
                         " failing. --duration runs meanwhile."),
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
        command = option(command)
    return command

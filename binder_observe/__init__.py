"""binder-observe: follow every page of the binder allocator.

`bo.open(path)` and `bo.simulate(scenario)` give a `Recording`, `bo.compare(a, b)` says how two differ. `bo.df_*` make
frames of a recording's `history`, `bo.plot_*` draw them. All are imported when they are first used, since the command
line starts without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from binder_observe.api import PageReport, Recording, compare, simulate
    from binder_observe.api import open_recording as open  # noqa: A004
    from binder_observe.frames import *  # noqa: F403
    from binder_observe.plots import *  # noqa: F403

__all__ = ["PageReport", "Recording", "__version__", "compare", "open", "simulate"]
_API = {name: name for name in ("PageReport", "Recording", "compare", "simulate")} | {"open": "open_recording"}
_FRAMES = ("df_", "page_map", "window")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _API:
        return getattr(import_module("binder_observe.api"), _API[name])
    if name.startswith(_FRAMES):
        return getattr(import_module("binder_observe.frames"), name)
    if name.startswith("plot_"):
        return getattr(import_module("binder_observe.plots"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    from binder_observe import frames, plots

    return [*globals(), *_API, *frames.__all__, *plots.__all__]

"""binder-observe: follow every page of the binder allocator.

`bo.open(path)` and `bo.simulate(scenario)` give a `Recording`; they are imported when they are first used, since the
command line starts without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from binder_observe.api import Recording, simulate
    from binder_observe.api import open_recording as open  # noqa: A004

__all__ = ["Recording", "__version__", "open", "simulate"]


def __getattr__(name: str) -> Any:
    if name not in ("Recording", "open", "simulate"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from binder_observe import api

    return getattr(api, "open_recording" if name == "open" else name)

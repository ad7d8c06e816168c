"""A request list, run on the model of the allocator, as a source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from binder_observe import __version__
from binder_observe.events import EventBatch
from binder_observe.simulator.request_runner import run_requests
from binder_observe.simulator.requests import load_requests
from binder_observe.sources import Generation, Meta


class RequestSource:
    """Events of a `.requests` file, all in one batch; raises ObserveError with the line of a mistake."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        seed: int = 0,
        generation: Generation = "6.14",
        page_size: int = 4096,
    ) -> None:
        self._run = run_requests(load_requests(Path(path)), generation=generation, page_size=page_size, seed=seed)
        self.meta = Meta(
            source="simulated",
            kernel=self._run.kernel.diff.kernel,
            generation=generation,
            page_size=page_size,
            tool_version=__version__,
            command=f"simulate {Path(path).name} --seed {seed}",
        )

    def batches(self) -> Iterator[EventBatch]:
        yield self._run.events

    def stop(self) -> None:
        """The list has run already."""

    def close(self) -> None:
        """Nothing is open."""

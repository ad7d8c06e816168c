"""The simulator as a source: a scenario run on the model of the allocator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from binder_observe import __version__
from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch, Kind
from binder_observe.simulator.faults import Faults
from binder_observe.simulator.kernel import Kernel
from binder_observe.simulator.scenario_tables import INFINITE_S, Scenario
from binder_observe.simulator.scenarios import load_scenario
from binder_observe.simulator.truth import Truth
from binder_observe.simulator.workload import SECOND, Workload
from binder_observe.sources import Generation, Meta

BATCH_LOG: Final = 3 << 15  # so long is the trace's log when it is taken: some 50,000 events
TICK_NS: Final = 50_000_000  # in real time a batch comes this often, empty or not


class SimulatorSource:
    """Events of `scenario`, a name that ships or the path of a `.toml` file.

    The same scenario, seed, generation and page size give the same bytes. Afterwards `kernel`, `workload` and `truth`
    hold the model's own state, for tests.

    Args:
        duration_s: simulated seconds; by default what the scenario says.
        page_size: bytes; by default what the scenario says.
        realtime: the simulated clock keeps pace with ours; else the run is as fast as it can be.
        truth: write down every life as the model knows it (slower).

    Raises:
        ObserveError: no such scenario or generation, or a mistake in the file.
    """

    def __init__(
        self,
        scenario: str | Path | Scenario = "steady",
        *,
        seed: int = 0,
        duration_s: float | None = None,
        generation: Generation = "6.14",
        page_size: int | None = None,
        realtime: bool = False,
        truth: bool = False,
    ) -> None:
        self.scenario = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
        if duration_s is not None and not 0 < duration_s < INFINITE_S:
            raise ObserveError(f"a duration of {duration_s:g} s: a run must last longer than nothing")
        self._duration_ns = round((self.scenario.duration_s if duration_s is None else duration_s) * SECOND)
        self._realtime = realtime
        self._stopped = False
        self.kernel = Kernel(generation, page_size=page_size or self.scenario.page_size, seed=seed)
        if self.scenario.fault:
            self.kernel.faults = Faults(seed)
            for fault in self.scenario.fault:
                self.kernel.faults.arm(fault.name, rate=fault.rate, moments=fault.moments)
        self.truth = Truth(self.kernel.trace) if truth else None
        self.kernel.truth = self.truth
        self.kernel.emit(Kind.ATTACH)
        self.workload = Workload(self.kernel, self.scenario, seed)
        self._meta = Meta(
            source="simulated",
            kernel=self.kernel.diff.kernel,
            generation=generation,
            page_size=self.kernel.page_size,
            tool_version=__version__,
            command=f"simulate {self.scenario.name} --seed {seed}",
        )

    @property
    def meta(self) -> Meta:
        return self._meta

    def batches(self) -> Iterator[EventBatch]:
        trace = self.kernel.trace
        scheduler = self.kernel.scheduler
        start_ns = trace.now
        end_ns = start_ns + self._duration_ns
        began = time.monotonic_ns()
        while not self._stopped and trace.now < end_ns and scheduler.next_due < end_ns:
            until_ns = end_ns
            if self._realtime:
                until_ns = min(end_ns, trace.now + TICK_NS)
            scheduler.run(until_ns, BATCH_LOG)
            if self._realtime:
                if trace.now < until_ns and scheduler.next_due >= until_ns:
                    trace.now = until_ns
                early_ns = (trace.now - start_ns) - (time.monotonic_ns() - began)
                if early_ns > 0:
                    time.sleep(early_ns / SECOND)
            yield self._take()
        if not self._stopped and trace.now < end_ns:
            trace.now = end_ns
        self.kernel.emit(Kind.DETACH)
        yield self._take()

    def _take(self) -> EventBatch:
        return self.kernel.trace.take()

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._stopped = True

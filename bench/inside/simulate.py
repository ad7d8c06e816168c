"""Runs scenarios on whichever version of the package comes first on the path; a program of its own.

It prints events, processor seconds and a digest of all columns for each scenario.
"""

import hashlib
import json
import sys
import time

from binder_observe.events import COLUMNS
from binder_observe.sources.simulator import SimulatorSource


def simulate(scenario: str) -> dict[str, object]:
    digest = hashlib.sha256()
    events = 0
    took = 0.0
    batches = SimulatorSource(scenario, seed=1).batches()
    while True:
        begin = time.process_time()
        batch = next(batches, None)
        took += time.process_time() - begin
        if batch is None:
            return {"events": events, "cpu_s": took, "digest": digest.hexdigest()}
        events += len(batch)
        for column in COLUMNS:
            digest.update(getattr(batch, column))


if __name__ == "__main__":
    json.dump({scenario: simulate(scenario) for scenario in sys.argv[1:]}, sys.stdout)

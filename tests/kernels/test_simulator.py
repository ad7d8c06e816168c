"""The simulator against real kernels: the same request lists, the same events, one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from binder_observe.events import EventBatch, Kind, concat
from binder_observe.simulator.request_runner import RequestRun, run_requests
from binder_observe.simulator.requests import parse_requests
from binder_observe.sources.recording import RecordingSource
from tests.kernels import oracle
from tests.kernels.session import Session

pytestmark = pytest.mark.kernel

Event = tuple[str, int, int]  # kind, alloc (by order of appearance), page


def stream(batch: EventBatch, rows: np.ndarray) -> list[Event]:
    """The kernel's events among `rows` but LRU_SKIP_*, which depend on more than the list; mappings count as events,
    since they are the kernel's as well."""
    order: dict[int, int] = {}
    rows = rows[(batch.kind[rows] <= Kind.RELEASE_END) | (batch.kind[rows] == Kind.MMAP)]
    return [
        (Kind(int(k)).name, order.setdefault(int(a), len(order)), int(p))
        for k, a, p in zip(batch.kind[rows], batch.alloc[rows], batch.page[rows], strict=True)
    ]


def settled(batch: EventBatch, rows: np.ndarray, last_ns: int) -> np.ndarray:
    """The rows, with those behind the list's last request by alloc: all processes end at once there, and which kworker
    releases which file first is not promised."""
    late = batch.ts_ns[rows] > last_ns
    order = np.argsort(batch.alloc[rows[late]], kind="stable")
    return np.concatenate([rows[~late], rows[late][order]])


def lists(booted: Session) -> Iterator[tuple[Path, dict[str, int], RequestRun]]:
    """Each list's results on the kernel, its processes there, and its run in the simulator."""
    for path in sorted((booted.results / "lists").glob("*.requests")):
        pids = json.loads((path.with_suffix("") / "actors.json").read_text())
        yield path.with_suffix(""), pids, run_requests(parse_requests(path.read_text()), generation=booted.generation)


def skipped_for_good(batch: EventBatch) -> set[tuple[int, int]]:
    """(alloc by order of appearance, page) that the shrinker skipped because their owner has ended."""
    order = {a: i for i, a in enumerate(batch.alloc[batch.kind == Kind.MMAP].tolist())}
    gone = batch.kind == Kind.LRU_SKIP_MM_GONE
    return {(order[a], p) for a, p in zip(batch.alloc[gone].tolist(), batch.page[gone].tolist(), strict=True)}


def test_event_streams_are_equal(booted: Session) -> None:
    report = booted.json("lists")
    assert (report["lost_events"], report["unexplained"]) == (0, 0)
    batch = concat(RecordingSource(booted.results / "lists.arrows").batches())
    described = np.flatnonzero(batch.kind == Kind.MMAP)
    owner = dict(zip(batch.alloc[described].tolist(), batch.tgid[described].tolist(), strict=True))
    owners = np.array([owner.get(a, 0) for a in range(int(batch.alloc.max()) + 1)])
    compared = 0
    for results, pids, model in lists(booted):
        rows = np.flatnonzero(np.isin(owners[batch.alloc], list(pids.values())) & (batch.alloc > 0))
        log = (results / "log.jsonl").read_text().splitlines()
        real = stream(batch, settled(batch, rows, json.loads(log[-1])["ts_ns"]))
        every = np.arange(len(model.events))
        simulated = stream(model.events, settled(model.events, every, model.log[-1]["ts_ns"]))
        first = next((i for i, (a, b) in enumerate(zip(real, simulated, strict=False)) if a != b), None)
        where = f"{results.name}, event {first}: " + (
            f"{real[first]} is {simulated[first]}" if first is not None else ""
        )
        assert first is None, where
        assert len(real) == len(simulated), results.name
        compared += len(real)
    assert compared > 50_000


def test_pages_of_ended_owners_are_skipped_in_both(booted: Session) -> None:
    """Which they are. How often each is depends on how many rounds the kernel makes, which goes by what all of its
    shrinkers freed; skips for a lock depend on the interleaving, and are compared nowhere."""
    model = run_requests(parse_requests((booted.results / "skips.requests").read_text()), generation=booted.generation)
    real = skipped_for_good(concat(RecordingSource(booted.results / "skips.arrows").batches()))
    assert real
    assert real == skipped_for_good(model.events)


def test_outcomes_and_page_counts_are_equal(booted: Session) -> None:
    for results, pids, model in lists(booted):
        log = [json.loads(line) for line in (results / "log.jsonl").read_text().splitlines()]
        outcome = [(entry["line"], entry["ok"], entry["error"]) for entry in log]
        assert outcome == [(entry["line"], entry["ok"], entry["error"]) for entry in model.log], results.name
        assert model.checkpoints
        for checkpoint in model.checkpoints:
            kernel = oracle.parse((results / f"{checkpoint.name}.stats").read_text())
            simulated: dict[tuple[int, str], list[oracle.Counts]] = {}
            for process, context, counts in checkpoint.stats:
                if sum(counts[:3]):
                    simulated.setdefault((pids[process], context), []).append(counts)
            assert {key: sorted(counts) for key, counts in simulated.items()} == kernel, (results.name, checkpoint.name)


def test_what_does_not_depend_on_the_interleaving_is_equal(booted: Session) -> None:
    """mixed.requests has a flood of many threads in its middle, which leaves pages parked until they are reclaimed."""
    model = run_requests(parse_requests((booted.results / "mixed.requests").read_text()), generation=booted.generation)
    log = [json.loads(line) for line in booted.text("mixed/log.jsonl").splitlines()]
    outcome = [(entry["line"], entry["ok"], entry["error"]) for entry in log]
    assert outcome == [(entry["line"], entry["ok"], entry["error"]) for entry in model.log]
    pids = booted.pids("mixed")
    names = [checkpoint.name for checkpoint in model.checkpoints]
    for checkpoint in model.checkpoints:
        if checkpoint.name in ("flooded", "before_reclaim"):
            continue
        # which pages the flood touched, and so the watermarks from there on, is for its threads to decide
        width = 4 if names.index(checkpoint.name) < names.index("flooded") else 3
        kernel = oracle.parse(booted.text(f"mixed/{checkpoint.name}.stats"))
        simulated: dict[tuple[int, str], list[tuple[int, ...]]] = {}
        for process, context, counts in checkpoint.stats:
            if sum(counts[:3]):
                simulated.setdefault((pids[process], context), []).append(counts[:width])
        expected = {key: sorted(counts[:width] for counts in found) for key, found in kernel.items()}
        assert {key: sorted(counts) for key, counts in simulated.items()} == expected, checkpoint.name

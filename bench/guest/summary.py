"""From the figures of each run (runs.jsonl) to results: rows, ratios, and whether goals are met."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.guest import kept
from bench.guest.inside import UNTRACED
from bench.guest.tracers import COUNTING, OURS, PERF, PRINTING, TRACE_CMD
from bench.results import Ratio, Result, Row, ratio, row

_EMULATED: Final = " The kernel is emulated, which distorts times: only their ratios mean anything."
_KEEPING: Final = (PRINTING, TRACE_CMD, PERF)


class Runs:
    """The lines of runs.jsonl, with what each run kept as `kept`."""

    def __init__(self, results: Path) -> None:
        self._runs = [json.loads(line) for line in (results / "runs.jsonl").read_text().splitlines()]
        for run in self._runs:
            if run.get("output"):
                run["kept"] = kept.events(run["tracer"], results / run["output"])
                run["happened"] = sum(run["counts"].values())

    def of(self, kind: str, tracer: str) -> list[Any]:
        return [run for run in self._runs if (run["kind"], run["tracer"]) == (kind, tracer)]

    def figures(self, kind: str, tracer: str, figure: Callable[[Any], float]) -> list[float]:
        return [figure(run) for run in self.of(kind, tracer)]


def results(directory: Path, machine: dict[str, str]) -> list[Result]:
    """Of all comparisons; `directory` is what the guest left."""
    runs = Runs(directory)
    return [make(runs, machine) for make in (_ring, _collector, _traced, _disk, _attach)]


def spread(what: str, upper: Sequence[float], lower: Sequence[float]) -> str:
    """The least and the greatest ratio of any two runs."""
    return f"{what}: {min(upper) / max(lower):.2g} to {max(upper) / min(lower):.2g} over all pairs of runs."


def _against(what: str, upper: Row, lower: Row, goal: str | None = None) -> tuple[Ratio, str]:
    return ratio(what, upper.value / lower.value, goal), spread(what, upper.runs, lower.runs)


def _result(name: str, title: str, what: str, rows: list[Row], held: list[tuple[Ratio, str]], **more: Any) -> Result:
    notes = [*(note for _, note in held if note), *more.pop("notes", [])]
    return Result(name, title, what + _EMULATED, rows, [found for found, _ in held], notes, **more)


def _ring(runs: Runs, machine: dict[str, str]) -> Result:
    rows = [
        row("65,536 records", name, "events per second of CPU",
            runs.figures("ring", name, lambda run: run["events"] / run["cpu_s"]))
        for name in ("Ring.drain", "bcc callback")
    ]  # fmt: skip
    what = (
        "A BPF program fills a third of the ring buffer; either our reader takes it and makes an array of each column, "
        "or bcc's `ring_buffer_consume` calls a function that decodes a record (`event()`) and keeps its fields in a "
        "list, of which columns are made."
    )
    held = [_against("events per second of CPU, ours to bcc's callback", rows[0], rows[1], "≥ 50")]
    return _result("ring", "Ring buffer to columns", what, rows, held, machine=machine)


def _collector(runs: Runs, machine: dict[str, str]) -> Result:
    rows, missed = [], []
    for name in (OURS, *_KEEPING):
        idle = median(runs.figures("idle", name, lambda run: run["cpu_s"]))
        rows.append(
            row("the flood", name, "µs of CPU per event kept",
                runs.figures("counted", name, lambda run, idle=idle: max(run["cpu_s"] - idle, 0) / run["kept"] * 1e6))  # type: ignore[misc]
        )  # fmt: skip
        missed.append(
            row("the flood", name, "% of events missed",
                runs.figures("counted", name, lambda run: 100 * (1 - run["kept"] / run["happened"])))
        )  # fmt: skip
    long = row(
        "a flood of more events than the ring holds", OURS, "% of events missed",
        runs.figures("long", OURS, lambda run: 100 * (1 - run["kept"] / run["happened"])),
    )  # fmt: skip
    held = [_against(f"CPU per event, {peer.tool} to ours", peer, rows[0], "≥ 1") for peer in rows[1:]]
    held.append((ratio("events that we missed in the long flood", max(long.runs), "≤ 0", "%"), ""))
    what = (
        "Processor time (user and system) of the collector with all its processes, from when it traces to its end, "
        "less that of a run without events, by events kept; 0 where that took more, for a start and an end differ from "
        "run to run. ftrace's own histograms, in the same run, say how many events there were. trace-cmd and perf move "
        "the kernel's buffers into a file without a look at what is in them; we decode every event, as bpftrace does, "
        "follow every page, and compress the columns."
    )
    return _result("collector", "The whole collector, live", what, [*rows, *missed, long], held, machine=machine)


def _traced(runs: Runs, machine: dict[str, str]) -> Result:
    tools = (UNTRACED, OURS, COUNTING, *_KEEPING)
    cpu = {
        name: row("CPU of the workload", name, "µs per transaction",
                  runs.figures("timed", name, lambda run: run["flood"]["cpu_s"] / run["flood"]["transactions"] * 1e6))
        for name in tools
    }  # fmt: skip
    rate = {
        name: row("rate of the workload", name, "transactions/s",
                  runs.figures("timed", name, lambda run: run["flood"]["transactions"] / run["flood"]["seconds"]))
        for name in tools
    }  # fmt: skip
    bpf = {
        name: row("BPF run time", name, "ns per event", runs.figures("stats", name, _bpf_ns))
        for name in (OURS, COUNTING)
    }
    held = []
    for name in tools[1:]:
        slower = ratio(f"rate of the workload, untraced to under {name}", rate[UNTRACED].value / rate[name].value)
        held.append((slower, spread(slower.what, rate[UNTRACED].runs, rate[name].runs)))
    ours = rate[UNTRACED].value / rate[OURS].value - 1
    for name in _KEEPING:
        theirs = rate[UNTRACED].value / rate[name].value - 1
        held.append((ratio(f"slow-down, {name}'s to ours", theirs / ours, "≥ 1"), ""))
    held.append(_against("BPF run time per event, ours to bpftrace's count", bpf[OURS], bpf[COUNTING], "≤ 1"))
    what = (
        "The workload's own rate and processor time, and the kernel's clock around each BPF program "
        "(`kernel.bpf_stats_enabled`), summed over all programs of a tool. That clock's own cost is in each run of a "
        "program, and this kernel's tracepoints can be preempted: behind each of our programs run three spares, which "
        "take the events that it misses. An event is numbered, stamped and copied to the ring; a count is one addition."
    )
    rows = [*rate.values(), *cpu.values(), *bpf.values()]
    return _result("traced", "What tracing costs the traced", what, rows, held, machine=machine)


def _bpf_ns(run: Any) -> float:
    """Nanoseconds in BPF programs for each event that happened."""
    return float(sum(program["run_time_ns"] for program in run["programs"]) / run["happened"])


def _disk(runs: Runs, machine: dict[str, str]) -> Result:
    whole, more = {}, {}
    for name in (OURS, TRACE_CMD, PERF):
        whole[name] = row("whole file", name, "bytes per event",
                          runs.figures("counted", name, lambda run: run["bytes"] / run["kept"]))  # fmt: skip
        empty = median(runs.figures("idle", name, lambda run: run["bytes"]))
        more[name] = row("beyond the file of a run without events", name, "bytes per event",
                         runs.figures("counted", name, lambda run, empty=empty: (run["bytes"] - empty) / run["kept"]))  # type: ignore[misc]  # fmt: skip
    held = []
    for rows, goal in ((whole, "≤ 0.2"), (more, None)):
        smaller = min(rows[TRACE_CMD], rows[PERF], key=lambda found: found.value)
        held.append(_against(f"{rows[OURS].case}, ours to the smaller ({smaller.tool})", rows[OURS], smaller, goal))
    held.append((ratio("bytes an event in our recording", whole[OURS].value, "≤ 8", "bytes"), ""))
    what = (
        "Size of what each tool left of the flood, by events in it. trace-cmd compresses events, and writes every "
        "event format and kernel symbol first; both it and we have the smaller share of that the longer the run is."
    )
    return _result("disk", "Bytes on disk", what, [*whole.values(), *more.values()], held, machine=machine)


def _attach(runs: Runs, machine: dict[str, str]) -> Result:
    kinds = ("idle", "attached", "counted")

    def rows_of(case: str, unit: str, key: str) -> dict[str, Row]:
        return {
            name: row(case, name, unit, [run[key] for kind in kinds for run in runs.of(kind, name)])
            for name in (OURS, COUNTING, PRINTING, TRACE_CMD, PERF)
        }

    wall, cpu = rows_of("from exec until it traces", "s", "attach_s"), rows_of("CPU of that", "s", "attach_cpu_s")
    held = [
        _against("time to attach, ours to bpftrace's (printing)", wall[OURS], wall[PRINTING], "≤ 2"),
        _against("CPU to attach, ours to bpftrace's (printing)", cpu[OURS], cpu[PRINTING]),
    ]
    what = (
        "From exec until every probe is attached: we say so, and a peer then runs the command that it was given. Ours "
        "is Python importing numpy, pyarrow and numba with the compiled loops, and clang, by way of bcc, compiling "
        "programs that include the kernel's headers; all of it is done before anything is attached, so that it costs "
        "no events."
    )
    return _result("attach", "Time to attach", what, [*wall.values(), *cpu.values()], held, machine=machine)

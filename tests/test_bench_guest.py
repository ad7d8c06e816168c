"""What the comparisons in a guest read from other tools: each text here is what that tool printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.guest import parsing, summary
from bench.guest.flood import TRACEPOINTS
from bench.guest.processes import tree_cpu_s
from bench.guest.tracers import COUNTING, OURS, PERF, PRINTING, TRACE_CMD, TRACERS
from binder_observe.events import TABLE

pytestmark = pytest.mark.checkout

HIST = """\
# event histogram
#
# trigger info: hist:keys=common_type:vals=hitcount:sort=hitcount:size=2048 [active]
#

{ common_type:       1605 } hitcount:      28868

Totals:
    Hits: 28868
    Entries: 1
    Dropped: 0
"""

TRACE_CMD_REPORT = """\
cpus=2
          server-292   [001]    55.098240: binder_free_lru_start: proc=285 page_index=0
          server-292   [001]    55.098562: binder_free_lru_start: proc=285 page_index=1
CPU:0 [12 EVENTS DROPPED]
          <idle>-0     [000]    55.098600: sched_switch:         swapper/0:0 [120] R ==> server:292 [120]
   a name [0] x-292    [001]    55.098574: binder_alloc_lru_start: proc=285 page_index=2
"""

PERF_STATS = """\

Aggregated stats:
           TOTAL events:      57979
            MMAP events:         64  ( 0.1%)
            LOST events:          1  ( 0.0%)
          SAMPLE events:      46730  (99.8%)
   FINISHED_INIT events:          1  ( 0.0%)
binder:binder_free_lru_start stats:
          SAMPLE events:      23365
binder:binder_alloc_lru_start stats:
          SAMPLE events:      23365
"""

PRINTED = """\
176979403000 3 198 37 1 198 203
176979405500 3 198 38 1 198 203
Lost 64 events
176979407100 2 198 33 0 198 204


"""

PROGRAMS = [
    {"id": 7, "type": "cgroup_skb", "tag": "6deef7357e7b4530", "gpl_compatible": True, "loaded_at": 1},
    {
        "id": 40, "type": "raw_tracepoint", "name": "alloc_page_end", "tag": "e3de22cdd07a5c41", "run_time_ns": 6000,
        "run_cnt": 3, "recursion_misses": 1,
    },
]  # fmt: skip


def test_a_histogram_says_how_many_events_it_saw() -> None:
    assert parsing.hist_hits(HIST) == 28868


def test_bpftrace_prints_its_map_or_its_lines() -> None:
    assert parsing.bpftrace_count("Attaching 5 probes...\n\n\n@: 29597\n\n") == 29597
    assert parsing.printed("Attaching 5 probes...\n" + PRINTED) == 3
    assert parsing.bpftrace_lost(PRINTED) == 64


def test_trace_cmd_reports_a_line_an_event() -> None:
    assert parsing.trace_cmd_events(TRACE_CMD_REPORT, TRACEPOINTS) == 3


def test_perf_counts_its_samples() -> None:
    assert parsing.perf_samples(PERF_STATS) == 46730


def test_bpftool_lists_programs_with_and_without_statistics() -> None:
    assert parsing.programs(json.dumps(PROGRAMS)) == [
        parsing.Program(7, "cgroup_skb", "", 0, 0, 0),
        parsing.Program(40, "raw_tracepoint", "alloc_page_end", 6000, 3, 1),
    ]


@pytest.mark.parametrize("parse", [parsing.hist_hits, parsing.bpftrace_count, parsing.perf_samples])
def test_another_text_is_refused(parse: Any) -> None:
    with pytest.raises(ValueError, match="something else"):
        parse("something else")


def test_processor_time_is_that_of_this_process_at_least() -> None:
    import os
    import time

    before = time.process_time()
    assert tree_cpu_s(os.getpid()) >= before - 0.02
    assert tree_cpu_s(1 << 30) == 0


def test_peers_trace_what_we_trace_by_default() -> None:
    assert set(TRACEPOINTS) == {row.tracepoint for row in TABLE if row.tracepoint and row.default}
    for tracer in TRACERS[1:]:
        assert all(name in " ".join(tracer.command()) for name in TRACEPOINTS), tracer.name


def runs() -> list[dict[str, Any]]:
    """What a guest might leave: each tool takes its number in time, to have ratios that are easily told."""
    made: list[dict[str, Any]] = []
    for number, tool in enumerate((OURS, COUNTING, PRINTING, TRACE_CMD, PERF), 1):
        flood = {"transactions": 1000, "seconds": 1 + number, "cpu_s": number}
        attach = {"attach_s": 6.0 / number, "attach_cpu_s": 3.0 / number}
        more = {"counts": {"e": 100}, "kept": 100, "happened": 100}
        made += [
            {"kind": "timed", "tracer": tool, "flood": flood},
            {"kind": "attached", "tracer": tool, **attach},
            {"kind": "counted", "tracer": tool, "bytes": 100 * number, "cpu_s": 2.0 * number, **attach, **more},
            {"kind": "idle", "tracer": tool, "bytes": 50, "cpu_s": 1.0, **attach},
            {"kind": "stats", "tracer": tool, "programs": [{"run_time_ns": 500 / number}] * 2, **attach, **more},
        ]
    made.append({"kind": "timed", "tracer": "untraced", "flood": {"transactions": 1000, "seconds": 1, "cpu_s": 1}})
    made.append({"kind": "long", "tracer": OURS, "kept": 990, "happened": 1000})
    made += [
        {"kind": "ring", "tracer": t, "events": 100, "cpu_s": s} for t, s in (("Ring.drain", 1), ("bcc callback", 60))
    ]
    return made


def test_ratios_follow_from_runs_and_are_held_against_their_goals(tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(run) + "\n" for run in runs()))
    found = {r.what: r for result in summary.results(tmp_path, {}) for r in result.ratios}
    checked = {
        "events per second of CPU, ours to bcc's callback": (60, True),
        f"CPU per event, {PRINTING} to ours": (5, True),
        "events that we missed in the long flood": (1, False),
        f"rate of the workload, untraced to under {OURS}": (2, None),
        f"slow-down, {PERF}'s to ours": (5, True),
        "BPF run time per event, ours to bpftrace's count": (2, False),
        f"whole file, ours to the smaller ({TRACE_CMD})": (0.25, False),
        "bytes an event in our recording": (1, True),
        "time to attach, ours to bpftrace's (printing)": (3, False),
    }
    for what, (value, met) in checked.items():
        assert found[what].value == pytest.approx(value), what
        assert found[what].met is met, what

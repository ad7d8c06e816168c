"""One boot of one kernel: the installed tool beside the workload, and everything that the tests look at afterwards."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from binder_observe.simulator.random_requests import random_requests
from tests.kernels import guest, kernels, workload

GENERATIONS: Final = {"6.1": "6.1", "6.12": "6.8", "7": "6.14"}  # kernel -> generation of its allocator
TIMEOUT: Final = 2100.0
RANDOM_LISTS: Final = 100  # other ones on each kernel
REQUESTS: Final = 60  # in each
ATTACHES: Final = 24  # into traffic
CHECKPOINTS: Final = ("before_reclaim", "after_reclaim", "after_exit", "after_close", "after_reopen", "end")

PID_MAX: Final = 700
SHORT_LISTS: Final = 18  # one after the other...
SHORT_LIVED: Final = 60  # ...each with so many processes that open binder, call once and end
FEW_LISTS: Final = 5  # after so many the observer's memory is looked at the first time

# What lets an observer come and go beside a list: the list stops where it is told to.
_HOLD: Final = "\ntouch done\nwait leave\n"
_LISTS: Final = ("known", "mixed", "owner", "flood", "filters", "inner", "later", "skips")

_SCRIPT: Final = r"""
set -u
R={results}
W={program}
T=/sys/kernel/tracing

until_there() {{ while [ ! -e "$1" ]; do sleep 0.1; done; }}

observe() {{  # NAME OPTIONS...: starts the observer and waits until it keeps events
    name=$1; shift
    binder-observe "$@" >$R/$name.json 2>$R/$name.err &
    O=$!
    until grep -q 'Hit Ctrl-C' $R/$name.err; do kill -0 $O || break; sleep 0.1; done
}}

count() {{  # ON|OFF NAME: counts tracepoints by ftrace's histograms, which know nothing of BPF
    for e in alloc_page_start alloc_page_end alloc_lru_start free_lru_start unmap_kernel_start; do
        d=$T/events/binder/binder_$e
        if [ $1 = ON ]; then
            echo hist:keys=common_type >$d/trigger
        else
            echo "$e $(sed -n 's/^ *Hits: //p' $d/hist)" >>$R/$2.counts
            echo '!hist:keys=common_type' >$d/trigger
        fi
    done
}}

leftovers() {{  # NAME: what is left of the observer in the kernel
    sleep 1
    bpftool -j prog show >$R/$1.progs
    cat /sys/kernel/debug/kprobes/list >$R/$1.kprobes
}}

binder-observe doctor --json >$R/doctor.json; echo $? >$R/doctor.status
binder-observe -p 999999 >$R/nobody.out 2>$R/nobody.err; echo $? >$R/nobody.status
binder-observe -p 1 >$R/init.out 2>$R/init.err; echo $? >$R/init.status

# a system that is running already, quiet or busy
mkdir $R/attach
python -m tests.kernels.attach $W $R/attach {attaches}; echo $? >$R/attach.status

binder-observe --duration 1 -q -j >$R/brief.json 2>$R/brief.err; echo $? >$R/brief.status

# every process, two lists
observe whole -j -o $R/whole.arrows
$W $R/known.requests $R/known
$W $R/mixed.requests $R/mixed & L=$!
until_there $R/mixed/done
kill -INT $O; wait $O; echo $? >$R/whole.status
touch $R/mixed/leave; wait $L
leftovers whole

# in pieces
observe rotated record -j --rotate 1s -o $R/rotated.arrows
$W $R/known.requests $R/known_in_one
sleep 1.5
$W $R/known.requests $R/known_in_another
kill -INT $O; wait $O; echo $? >$R/rotated.status

# one owner, opened before the observer, which ends by itself when the owner does, and may not know where things are
echo 2 >/proc/sys/kernel/kptr_restrict
$W $R/owner.requests $R/owner & L=$!
until_there $R/owner/opened
P=$(sed -n 's/.*"open server binder".*"pid": *\([0-9]*\).*/\1/p' $R/owner/log.jsonl)
observe owner -j -p $P -o $R/owner.arrows
touch $R/owner/go
until_there $R/owner/done
cat /sys/kernel/debug/binder/stats >$R/owner.stats
touch $R/owner/leave; wait $L
wait $O; echo $? >$R/owner.status
echo 0 >/proc/sys/kernel/kptr_restrict

. tests/kernels/filters.sh

# the smallest ring buffer and a flood, stopped by SIGTERM
$W $R/flood.requests $R/flood & L=$!
until_there $R/flood/opened
count ON
observe flood -j --buffer-size 4K -o $R/flood.arrows
touch $R/flood/go
until_there $R/flood/done
kill -TERM $O; wait $O; echo $? >$R/flood.status
count OFF flood
touch $R/flood/leave; wait $L

# processes that come and go, under a limit that makes the kernel use their pids again and again
M=$(cat /proc/sys/kernel/pid_max)
echo {pid_max} >/proc/sys/kernel/pid_max
echo 'p:long/release binder_alloc_deferred_release alloc=%di:x64' >>$T/kprobe_events
echo 'hist:keys=alloc' >$T/events/long/release/trigger
count ON
observe long -j -o $R/long.arrows
for n in $(seq {short_lists}); do
    $W $R/short.requests $R/short$n
    [ $n = {few_lists} ] && grep VmRSS /proc/$O/status >$R/long.early
done
sleep 2
grep VmRSS /proc/$O/status >$R/long.late
for map in allocs descriptions in_mmap mapping in_release; do bpftool -j map dump name $map >$R/long.$map.json; done
kill -INT $O; wait $O; echo $? >$R/long.status
count OFF long
cat $T/events/long/release/hist >$R/long.released
echo '!hist:keys=alloc' >$T/events/long/release/trigger
echo '-:long/release' >>$T/kprobe_events
echo $M >/proc/sys/kernel/pid_max

# request lists one after the other, every tracepoint of the class
observe lists -j --latency -o $R/lists.arrows
for list in $R/lists/*.requests; do
    $W $list ${{list%.requests}}
done
kill -INT $O; wait $O; echo $? >$R/lists.status

# what the shrinker skips: first the pages of an owner that has ended, and nothing else, then in the middle of a flood
observe skips -j --latency -o $R/skips.arrows
$W $R/skips.requests $R/skips & L=$!
until_there $R/skips/opened
echo 'r:binder_observe_test/returned binder_alloc_free_page status=$retval:u32' >>$T/kprobe_events
d=$T/events/binder_observe_test/returned
echo hist:keys=status >$d/trigger
touch $R/skips/go
until_there $R/skips/quiet
cat $d/hist >$R/skips_quiet.hist
P=$(sed -n 's/.*"open server binder".*"pid": *\([0-9]*\).*/\1/p' $R/skips/log.jsonl)
# takes the mmap lock for writing, and the locks of the VMAs (clear_refs_write(), fs/proc/task_mmu.c)
while [ ! -e $R/skips/done ]; do echo 1 >/proc/$P/clear_refs; done & C=$!
while [ ! -e $R/skips/done ]; do echo 2 >/proc/sys/vm/drop_caches; done & D=$!
touch $R/skips/flood
wait $C $D
cat $d/hist >$R/skips.hist
cat $T/kprobe_profile >$R/skips.profile
echo '!hist:keys=status' >$d/trigger
echo -:binder_observe_test/returned >>$T/kprobe_events
kill -INT $O; wait $O; echo $? >$R/skips.status
touch $R/skips/leave; wait $L
bpftool -j btf dump file /sys/kernel/btf/vmlinux >$R/vmlinux.btf.json
leftovers skips

# killed while it waits for more
count ON
observe killed -j -o $R/killed.arrows
$W $R/known.requests $R/known_again
sleep 2
kill -KILL $O; wait $O; echo $? >$R/killed.status
count OFF killed
leftovers killed

# watched, as a service, and ended in every other way
mkdir $R/watching
python -m tests.kernels.watching $W $R/watching; echo $? >$R/watching.status
"""


@dataclass(frozen=True)
class Session:
    """The results of one boot."""

    kernel: str
    generation: str
    results: Path

    def text(self, name: str) -> str:
        return (self.results / name).read_text()

    def status(self, name: str) -> int:
        return int(self.text(f"{name}.status"))

    def json(self, name: str) -> Any:
        return json.loads(self.text(f"{name}.json"))

    def pids(self, name: str) -> dict[str, int]:
        """The processes of a list, by the list's names."""
        found: dict[str, int] = {}
        for line in self.text(f"{name}/log.jsonl").splitlines():
            entry = json.loads(line)
            words = entry["request"].split()
            if words[0] == "open":
                found[words[1]] = entry["pid"]
        return found

    def counted(self, name: str) -> dict[str, int]:
        """How often ftrace saw each tracepoint."""
        return {event: int(n) for event, n in (line.split() for line in self.text(f"{name}.counts").splitlines())}


def run(kernel: str, results: Path) -> Session:
    """Boots `kernel` (a key of GENERATIONS) once; raises GuestError or KernelError."""
    results.mkdir(parents=True)
    shared = results / "guest"
    shared.mkdir()
    lists = results / "lists"
    lists.mkdir()
    text = _SCRIPT.format(
        results=shlex.quote(str(shared)), program=shlex.quote(str(workload.build())), attaches=ATTACHES,
        pid_max=PID_MAX, short_lists=SHORT_LISTS, few_lists=FEW_LISTS,
    )  # fmt: skip
    prepare = f"mkdir {shared}/lists\n"
    for seed in range(RANDOM_LISTS):
        text_of_list = random_requests(1000 * list(GENERATIONS).index(kernel) + seed, REQUESTS)
        (lists / f"random{seed:03}.requests").write_text(text_of_list)
    shutil.copy(workload.LISTS / "known.requests", lists / "written.requests")
    prepare += f"cp {lists}/random*.requests {lists}/written.requests {shared}/lists/\n"
    for name in _LISTS:
        (lists / f"{name}.requests").write_text(_with_pauses(name))
        prepare += f"cp {lists}/{name}.requests {shared}/\n"
    (lists / "short.requests").write_text(_short_lived())
    prepare += f"cp {lists}/short.requests {shared}/\n"
    outcome = guest.run(kernels.fetch(kernel), prepare + text, shared, timeout=TIMEOUT)
    outcome.check()
    return Session(kernel, GENERATIONS[kernel], shared)


def _short_lived() -> str:
    """Each maps, gets a reply of three pages, and ends."""
    text = "open server binder\n"
    for n in range(SHORT_LIVED):
        text += f"open short{n} binder\ncall short{n} binder data=5000 reply=9000 as x{n}\nfree x{n}\nexit short{n}\n"
    return text


def _with_pauses(name: str) -> str:
    text = (workload.LISTS / f"{name}.requests").read_text()
    if name in ("mixed", "flood"):
        text += _HOLD
    return text.replace("touch ready", "touch opened\nwait go\n#")

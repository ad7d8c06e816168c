# What the shrinker skips: first the pages of an owner that has ended, and nothing else, then in the middle of a flood.

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

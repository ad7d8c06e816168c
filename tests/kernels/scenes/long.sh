# Processes that come and go, under a limit that makes the kernel use their pids again and again.

M=$(cat /proc/sys/kernel/pid_max)
echo $PID_MAX >/proc/sys/kernel/pid_max
echo 'p:long/release binder_alloc_deferred_release alloc=%di:x64' >>$T/kprobe_events
echo 'hist:keys=alloc' >$T/events/long/release/trigger
count ON
observe long -j -o $R/long.arrows
for n in $(seq $SHORT_LISTS); do
    $W $R/short.requests $R/short$n
    [ $n = $FEW_LISTS ] && grep VmRSS /proc/$O/status >$R/long.early
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

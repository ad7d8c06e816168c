# What all scenes use. R: where results go; W: the workload.

set -u
export R W
T=/sys/kernel/tracing

until_there() { while [ ! -e "$1" ]; do sleep 0.1; done; }

observe() {  # NAME OPTIONS...: starts the observer and waits until it keeps events
    name=$1; shift
    binder-observe "$@" >$R/$name.json 2>$R/$name.err &
    O=$!
    until grep -q 'Hit Ctrl-C' $R/$name.err; do kill -0 $O || break; sleep 0.1; done
}

count() {  # ON|OFF NAME: counts tracepoints by ftrace's histograms, which know nothing of BPF
    for e in alloc_page_start alloc_page_end alloc_lru_start free_lru_start unmap_kernel_start; do
        d=$T/events/binder/binder_$e
        if [ $1 = ON ]; then
            echo hist:keys=common_type >$d/trigger
        else
            echo "$e $(sed -n 's/^ *Hits: //p' $d/hist)" >>$R/$2.counts
            echo '!hist:keys=common_type' >$d/trigger
        fi
    done
}

leftovers() {  # NAME: what is left of the observer in the kernel
    sleep 1
    bpftool -j prog show >$R/$1.progs
    cat /sys/kernel/debug/kprobes/list >$R/$1.kprobes
}

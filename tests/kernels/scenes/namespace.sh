# In a pid namespace: one context of a process that is there, and twenty processes that may come.

export -f observe until_there
inner() {
    binder-observe -p 29999 >$R/stranger.out 2>$R/stranger.err; echo $? >$R/stranger.status
    $W --limit 1000 $R/inner.requests $R/inner & L=$!
    until_there $R/inner/opened
    P=$(sed -n 's/.*"open server binder".*"pid": *\([0-9]*\).*/\1/p' $R/inner/log.jsonl)
    observe inner record -j -p $P --context hwbinder -o $R/inner.arrows; INNER=$O
    observe awaited -j --wait $(seq -f '-p %.0f' 8001 8020); AWAITED=$O
    touch $R/inner/go
    until_there $R/inner/done
    echo 8000 >/proc/sys/kernel/ns_last_pid
    $W --limit 1000 $R/later.requests $R/later & M=$!
    until_there $R/later/done
    grep -H ^NSpid: $H/[0-9]*/status >$R/nspid
    kill -INT $AWAITED; wait $AWAITED; echo $? >$R/awaited.status
    touch $R/later/leave; wait $M
    touch $R/inner/leave; wait $L
    wait $INNER; echo $? >$R/inner.status
}
export -f inner
export H=/run/proc  # of the initial namespace
mkdir -p $H
mount -t proc proc $H
unshare --pid --fork --mount-proc bash -uc inner

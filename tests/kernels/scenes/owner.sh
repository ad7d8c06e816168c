# One owner, opened before the observer, which ends by itself when the owner does, and may not know where things are.

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

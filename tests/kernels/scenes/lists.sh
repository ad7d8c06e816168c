# Request lists one after the other, every tracepoint of the class.

observe lists -j --latency -o $R/lists.arrows
for list in $R/lists/*.requests; do
    $W $list ${list%.requests}
done
kill -INT $O; wait $O; echo $? >$R/lists.status

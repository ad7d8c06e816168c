# Every process, two lists.

observe whole -j -o $R/whole.arrows
$W $R/known.requests $R/known
$W $R/mixed.requests $R/mixed & L=$!
until_there $R/mixed/done
kill -INT $O; wait $O; echo $? >$R/whole.status
touch $R/mixed/leave; wait $L
leftovers whole

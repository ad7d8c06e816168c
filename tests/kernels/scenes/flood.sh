# The smallest ring buffer and a flood, stopped by SIGTERM.

$W $R/flood.requests $R/flood & L=$!
until_there $R/flood/opened
count ON
observe flood -j --buffer-size 4K -o $R/flood.arrows
touch $R/flood/go
until_there $R/flood/done
kill -TERM $O; wait $O; echo $? >$R/flood.status
count OFF flood
touch $R/flood/leave; wait $L

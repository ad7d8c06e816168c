# Killed while it waits for more.

count ON
observe killed -j -o $R/killed.arrows
$W $R/known.requests $R/known_again
sleep 2
kill -KILL $O; wait $O; echo $? >$R/killed.status
count OFF killed
leftovers killed

# In pieces.

observe rotated record -j --rotate 1s -o $R/rotated.arrows
$W $R/known.requests $R/known_in_one
sleep 1.5
$W $R/known.requests $R/known_in_another
kill -INT $O; wait $O; echo $? >$R/rotated.status

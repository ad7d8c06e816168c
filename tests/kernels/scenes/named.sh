# By name: two who are yet to come.

$W --limit 1000 $R/filters.requests $R/filters & L=$!
until_there $R/filters/opened
observe named -j --wait -n com.example-application -n later -o $R/named.arrows
touch $R/filters/go
until_there $R/filters/called
touch $R/filters/rename
until_there $R/filters/renamed
sleep 2
touch $R/filters/more
until_there $R/filters/done
kill -INT $O; wait $O; echo $? >$R/named.status
touch $R/filters/leave; wait $L

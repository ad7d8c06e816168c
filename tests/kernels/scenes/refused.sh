# Processes that cannot be observed.

binder-observe -p 999999 >$R/nobody.out 2>$R/nobody.err; echo $? >$R/nobody.status
binder-observe -p 1 >$R/init.out 2>$R/init.err; echo $? >$R/init.status

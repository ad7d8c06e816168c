# Watched, as a service, and ended in every other way.

mkdir $R/watching
python -m tests.kernels.watching $W $R/watching; echo $? >$R/watching.status

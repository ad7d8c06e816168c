# A system that is running already, quiet or busy.

mkdir $R/attach
python -m tests.kernels.attach $W $R/attach $ATTACHES; echo $? >$R/attach.status

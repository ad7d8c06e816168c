# What is here.

binder-observe doctor --json >$R/doctor.json; echo $? >$R/doctor.status

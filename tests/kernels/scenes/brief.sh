# For a second, quietly.

binder-observe --duration 1 -q -j >$R/brief.json 2>$R/brief.err; echo $? >$R/brief.status

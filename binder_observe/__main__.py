"""`python -m binder_observe`."""

from binder_observe.cli import main

main()

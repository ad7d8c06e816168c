"""The simulator: binder's page allocator as a model, driven by workloads, emitting what a kernel emits.

Functions have their kernel names, so that both can be held side by side:

    alloc.py        struct binder_alloc: mmap, release, what the kernel prints of it
    buffers.py      struct binder_buffer: best fit, split, merge, async space, one-way spam
    pages.py        pages and their metadata: allocated, parked, reused, freed
    install.py      pages installed, and the race for one
    shrinker.py     the shrinker's callback and its ways out
    generation.py   what differs between 6.1, 6.8 and 6.14
    driver.py       as much of binder.c as the allocator can tell: processes, files, transactions
    rbtree.py, list_lru.py, mm.py, memory.py, vmscan.py    what the kernel has around it

    kernel.py       one machine: all of that, with its clock
    trace.py        the event log         scheduler.py    virtual time, threads, locks
    faults.py       failure injection     truth.py        what really happened, for tests
    costs.py, distributions.py            how long and how much

    scenarios.py, scenario_tables.py, scenarios/*.toml, workload.py       who talks to whom
    requests.py, request_runner.py, flood.py, random_requests.py          request lists

An event stream of a single-threaded request list is equal to a real kernel's, event by event:
tests/simulator/recorded/ and tests/kernels/ hold it against 6.1, 6.12 and 7.3.
"""

"""Comparisons with what people would use instead: each with its peer in the same run, on the same data.

`python -m bench` runs all, `python -m bench NAME...` some; results go to `bench/results/`, and `python -m bench.report`
makes docs/performance.md of them.
"""

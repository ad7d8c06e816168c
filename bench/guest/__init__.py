"""Comparisons on a real kernel: one boot in an emulator, our collector and its peers on the same workload in turn.

`python -m bench.guest` boots the guest, which runs `bench.guest.inside`; `bench.guest.summary` reads what that leaves.
"""

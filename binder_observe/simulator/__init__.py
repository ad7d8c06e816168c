"""The simulator: binder's page allocator as a model, driven by workloads, emitting what a kernel emits."""

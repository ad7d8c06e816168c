"""Real kernels for tests: `kernels` fetches them, `guest` boots them, `workload` makes them work."""

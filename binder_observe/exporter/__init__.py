"""Metrics for Prometheus, over HTTP. Each module is imported where it is used: prometheus_client is not light."""

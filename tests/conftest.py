"""Settings for every test."""

from __future__ import annotations

from hypothesis import settings

# Machines are shared and noisy: no test depends on how long one example takes.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

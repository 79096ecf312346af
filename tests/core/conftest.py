"""Effort of Hypothesis: the same few examples each time, or, with HYPOTHESIS_PROFILE=thorough, many new ones.

`make check` takes fewer still, HYPOTHESIS_PROFILE=fast.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("fast", derandomize=True, deadline=None, max_examples=40, stateful_step_count=30)
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=100, stateful_step_count=40)
settings.register_profile(
    "thorough",
    deadline=None,
    max_examples=1000,
    stateful_step_count=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

"""What holds for all tests: every run tries the same few examples. `--hypothesis-profile=explore` looks for others."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# no deadline: how long an example takes says more of the machine's load than of the code
settings.register_profile(
    "suite",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", settings.get_profile("suite"), derandomize=False, max_examples=1000)
settings.load_profile("suite")

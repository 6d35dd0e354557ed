"""What holds for all tests: every run tries the same examples. `--hypothesis-profile=explore` looks for others."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("suite", derandomize=True, database=None)
settings.register_profile("explore", derandomize=False)
settings.load_profile("suite")

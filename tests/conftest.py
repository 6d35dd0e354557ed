"""What holds for all tests: every run tries the same few examples. `--hypothesis-profile=explore` looks for others."""

from __future__ import annotations

import compileall
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests import ROOT

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


def pytest_configure(config: pytest.Config) -> None:
    """Have what the tests start find the same wherever they are started from."""
    if hasattr(config, "workerinput"):
        return
    # They start it thousands of times, also where PYTHONDONTWRITEBYTECODE is set.
    compileall.compile_dir(ROOT / "celeryfleet", quiet=1)
    # A shell ignores these for what it starts in the background, and so would all that is interrupted here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)

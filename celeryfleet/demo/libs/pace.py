"""How long the pretended work takes."""

from __future__ import annotations

import os
import time


def work(seconds: float) -> None:
    """Take `seconds` times the factor in DEMO_PACE (default 1; 0 for no wait at all)."""
    time.sleep(seconds * float(os.environ.get("DEMO_PACE", "1")))

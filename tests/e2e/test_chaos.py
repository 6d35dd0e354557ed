"""A short run of `python -m chaos`: a few faults of a fixed seed, and what it says of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import ROOT


@pytest.mark.timeout(150)
def test_a_few_faults_lose_nothing_and_leave_nothing() -> None:
    kinds = ("kill -9 of a pool's child", "kill -9 of the fork server", "kill -9 of the broker", "scale", "pause")
    words = ["--broker", "embedded", "--seed", "3", "--faults", "5", "--seconds", "60"]
    done = subprocess.run(
        [sys.executable, "-m", "chaos", *words, *(word for kind in kinds for word in ("--kind", kind))],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stderr.startswith("seed 3\n")
    assert "| faults | 5 |" in done.stdout
    assert "| late acks: **lost** | 0 |" in done.stdout
    assert "| processes left | 0 |" in done.stdout

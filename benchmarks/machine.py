"""Reads what a reader of figures wants to know: the date, the versions, the machine and how busy it is."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from celeryfleet.supervise.program import find_server

#: what runs in every fleet
OURS = ("celeryfleet", "celery", "kombu", "redis")
PEERS = ("honcho", "supervisor", "circus")
_KIB_PER_GIB = 1024 * 1024


def describe(packages: Sequence[str]) -> dict[str, str]:
    """Return the circumstances of a run, by what they are called, with the versions of these packages."""
    server = subprocess.run([find_server(), "--version"], capture_output=True, text=True, check=True).stdout.split()
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "versions": ", ".join(f"{name} {version(name)}" for name in packages),
        "broker": f"Valkey {next((word[2:] for word in server if word.startswith('v=')), 'of unknown version')}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} processors, {_memory()}, {platform.platform()}",
    }


def load() -> str:
    """Say how busy the machine is."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> str:
    total = int(Path("/proc/meminfo").read_text().split()[1])
    return f"{total / _KIB_PER_GIB:.0f} GiB"

"""Reads from this machine what a plan depends on; decides nothing."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.names import fleet_problem
from celeryfleet.plan.facts import Facts

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")


#: environment variable that says which host this is, where its own name does not
HOST = "CELERYFLEET_HOST"


def facts(fleet: Fleet, server: str = "", host: str = "") -> Facts:
    """Return what `build` needs; `server` is the embedded broker's program, where it has been looked for.

    `host` is this machine's name in the fleet, where it is known. Raises FleetError for one that can be none.
    """
    host = host or os.environ.get(HOST, "")
    if host and (problem := fleet_problem(host)):
        raise FleetError(f'the host\'s name is "{host}", but it {problem}.', hint=f"Give it one with --host or {HOST}.")
    return Facts(
        host=host or socket.gethostname(),
        cpus=processors(),
        can_fork=sys.platform == "linux",
        folder=str(Path(fleet.file).parent.resolve()),
        uid=os.geteuid(),
        server=server,
    )


def processors() -> int:
    """Count the processors this process may use: its affinity, and on Linux its control group's quota."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0))
    try:
        quota = quota_of(_CPU_MAX.read_text("ascii"))
    except OSError:
        quota = None
    return allowed if quota is None else min(allowed, quota)


def quota_of(cpu_max: str) -> int | None:
    """Read whole processors out of a control group's `cpu.max`, at least one; None: no quota."""
    quota, _, period = cpu_max.strip().partition(" ")
    return None if quota == "max" or not period else max(1, int(quota) // int(period))


def memory() -> int | None:
    """Return the bytes this process may use: the machine's, or on Linux its control group's limit; None: not known."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
    try:
        limit = _MEMORY_MAX.read_text("ascii").strip()
    except OSError:
        return whole
    return min(whole, int(limit)) if limit.isdecimal() else whole

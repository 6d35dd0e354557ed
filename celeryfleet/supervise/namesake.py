"""Keeps two fleets of one name from one broker: on one machine their workers would take each other for dead.

Node names are made of the fleet's name and the machine's. A worker that starts brings back what the node of its name
had taken (worker/redis_restore.py), and must not find there what a live worker of another folder is at work on.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

from celeryfleet import private
from celeryfleet.errors import Exit, FleetError
from celeryfleet.plan.facts import RUNTIME_DIR
from celeryfleet.plan.values import Plan


class Claim:
    """The right to run a fleet of this name on this broker, from this machine; held as long as the process lives."""

    def __init__(self) -> None:
        self._held: tuple[str, int] | None = None

    def take(self, plan: Plan) -> None:
        """Claim the plan's name, and let go of what was claimed before. Raises FleetError if another folder has it.

        An embedded broker is the fleet's own, and needs no claim.
        """
        path = "" if plan.broker.argv else _path(plan)
        if self._held and self._held[0] == path:
            return
        taken = _lock(path, plan) if path else None
        self.release()
        self._held = None if taken is None else (path, taken)

    def release(self) -> None:
        """Let go of what was claimed."""
        if self._held:
            path, lock = self._held
            Path(path).unlink(missing_ok=True)
            os.close(lock)
        self._held = None


def _path(plan: Plan) -> str:
    named = f"{plan.fleet}\0{plan.broker.url}\0{plan.broker.key_prefix}\0{plan.host}".encode()
    digest = hashlib.blake2b(named, digest_size=8).hexdigest()
    return f"{RUNTIME_DIR}/celeryfleet-{os.geteuid()}/{digest}.name"


def _lock(path: str, plan: Plan) -> int:
    """Lock the file of a name, and write into it who has it."""
    folder = Path(path).parent
    private.folder(str(folder.parent), folder.name)
    lock = private.opened(path, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = os.read(lock, 4096).decode(errors="replace")
        os.close(lock)
        raise FleetError(
            f'a fleet named "{plan.fleet}" runs on this broker already, from {other}.',
            hint=f"Stop it with `celeryfleet -f {other} down`, or give this one another `name:`.",
            code=Exit.NOT_READY,
        ) from None
    if not _is_at(path, lock):  # it was let go of, and removed, while we opened it
        os.close(lock)
        return _lock(path, plan)
    os.truncate(lock, 0)
    os.write(lock, plan.file.encode())
    return lock


def _is_at(path: str, lock: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(lock))  # noqa: PTH116
    except FileNotFoundError:
        return False

"""How a supervisor comes to be: it receives its plan, takes the fleet's lock, and tells its parent so."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import sys
from pathlib import Path

from celeryfleet.plan.values import Plan
from celeryfleet.supervise.forkserver import ForkServer
from celeryfleet.supervise.supervisor import Supervisor
from celeryfleet.wire import Lines, encode


def boot(parent: socket.socket, server: ForkServer | None) -> None:
    """Supervise the fleet of the plan that comes from the parent, until the end."""
    plan = _receive(parent)
    if plan is None:
        return  # fleet.yaml was wrong, or the parent is gone
    home = Path(plan.state_dir)
    try:
        (home / "logs").mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)
        _private(Path(plan.control).parent)
        lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        parent.sendall(encode({"ok": False, "error": f"{error.filename or home}: {error.strerror}"}))
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        parent.sendall(encode({"ok": False, "error": "locked"}))
        return
    _log_to(home / "logs" / "supervisor.log")
    os.chdir(Path(plan.file).parent)
    for name, value in plan.env.items():
        os.environ.setdefault(name, value)
    asyncio.run(_supervise(plan, server, parent))
    sys.stdout.flush()


async def _supervise(plan: Plan, server: ForkServer | None, parent: socket.socket) -> None:
    supervisor = Supervisor(plan, server)
    await supervisor.open()
    point(plan)
    parent.sendall(encode({"ok": True}))
    parent.close()
    try:
        await supervisor.run()
    finally:
        _unpoint(supervisor.core.plan)


def _receive(parent: socket.socket) -> Plan | None:
    lines = Lines()
    while True:
        data = parent.recv(1 << 16)
        if not data:
            return None
        for message in lines.feed(data):
            return Plan.from_json(message["plan"])


def _private(folder: Path) -> None:
    """Make the folder of the sockets, ours alone. Raises OSError if it is somebody else's."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.geteuid():
        raise PermissionError(1, "it belongs to another user", str(folder))
    folder.chmod(0o700)


def _log_to(file: Path) -> None:
    out = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for fd in (1, 2):
        os.dup2(out, fd)
    os.close(out)


def pointer(file: Path) -> Path:
    """Name the link by which the control socket is found from fleet.yaml alone, without reading it."""
    return file.parent / ".celeryfleet" / f"{file.name}.sock"


def point(plan: Plan) -> None:
    """Have the link beside fleet.yaml name the plan's control socket."""
    link = pointer(Path(plan.file))
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(plan.control)
    fresh.replace(link)


def _unpoint(plan: Plan) -> None:
    link = pointer(Path(plan.file))
    with contextlib.suppress(OSError):
        if str(link.readlink()) == plan.control:
            link.unlink()

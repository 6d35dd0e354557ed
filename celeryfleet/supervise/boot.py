"""How a supervisor comes to be: it receives its plan, takes the fleet's lock, and tells its parent so."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import sys
import time
from pathlib import Path

from celeryfleet import private
from celeryfleet.errors import Exit, FleetError
from celeryfleet.logs import write
from celeryfleet.plan.values import Plan
from celeryfleet.protocol import Apply, Done, Locked, Refused
from celeryfleet.records import Lines, encode
from celeryfleet.supervise.forkserver import ServerProcess
from celeryfleet.supervise.namesake import Claim
from celeryfleet.supervise.supervisor import Supervisor

#: seconds that a supervisor which holds the lock and does not answer is waited for, and between two looks
_PATIENCE, _LOOK = 5.0, 0.02


def boot(parent: socket.socket, server: ServerProcess | None) -> None:
    """Supervise the fleet of the plan that comes from the parent, until the end."""
    plan = _receive(parent)
    if plan is None:
        return  # fleet.yaml was wrong, or the parent is gone
    claim = Claim()
    try:
        lock = _prepare(plan)
        if not _locked(lock, plan.control):
            parent.sendall(encode(Locked()))
            return
        claim.take(plan)
    except (OSError, FleetError) as error:
        parent.sendall(encode(_refused(error, plan)))
        return
    write.install(Path(plan.state_dir) / "logs" / "supervisor.log", plan.logs.max_size, plan.logs.max_files)
    os.chdir(Path(plan.file).parent)
    for name, value in plan.env.items():
        os.environ.setdefault(name, value)
    asyncio.run(_supervise(plan, claim, server, parent))
    claim.release()
    sys.stdout.flush()


def _prepare(plan: Plan) -> int:
    """Make the fleet's folders, and open its lock. Raises OSError."""
    home, sockets = Path(plan.state_dir), Path(plan.control).parent
    private.folder(str(home.parent.parent), home.parent.name, home.name, "logs")
    _unversioned(home.parent)
    if sockets != home:
        private.folder(str(sockets.parent.parent), sockets.parent.name, sockets.name)
    return private.opened(str(home / "lock"), os.O_RDWR)


def _locked(lock: int, control: str) -> bool:
    """Take the fleet's lock; False if another supervisor has it, and answers or had time enough to begin or end."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with socket.socket(socket.AF_UNIX) as caller:
                if caller.connect_ex(control) == 0 or time.monotonic() > deadline:
                    return False
            time.sleep(_LOOK)
        else:
            return True


async def _supervise(plan: Plan, claim: Claim, server: ServerProcess | None, parent: socket.socket) -> None:
    supervisor = Supervisor(plan, claim, server)
    try:
        await supervisor.open()
        point(plan)
    except OSError as error:
        parent.sendall(encode(_refused(error, plan)))
        return
    parent.sendall(encode(Done()))
    parent.close()
    try:
        await supervisor.run()
    finally:
        _unpoint(supervisor.fleet.plan)
        with contextlib.suppress(OSError):  # where the sockets have a folder of their own, it is empty by now
            Path(supervisor.fleet.plan.control).parent.rmdir()


def _refused(error: OSError | FleetError, plan: Plan) -> Refused:
    code = int(Exit.NOT_READY)
    if isinstance(error, FleetError):
        return Refused(str(error), code=code)
    where = error.filename or plan.state_dir
    return Refused(f"the fleet's files cannot be written: {where}: {error.strerror}.", code=code)


def _receive(parent: socket.socket) -> Plan | None:
    lines = Lines(Apply)
    while data := parent.recv(1 << 16):
        for message in lines.feed(data):
            return Plan.from_json(message.plan)
    return None


def _unversioned(folder: Path) -> None:
    """Keep what lies here out of the user's commits; others may be about it at the same time."""
    ignore = folder / ".gitignore"
    if not os.path.lexists(ignore):
        with os.fdopen(private.opened(str(ignore), os.O_WRONLY), "wb") as file:
            file.write(b"*\n")


def pointer(file: Path) -> Path:
    """Name the link by which the control socket is found from fleet.yaml alone, without reading it."""
    return file.parent / ".celeryfleet" / f"{file.name}.sock"


def point(plan: Plan) -> None:
    """Have the link beside the fleet's files, and so beside fleet.yaml, name the plan's control socket."""
    link = _link(plan)
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(plan.control)
    fresh.replace(link)


def _link(plan: Plan) -> Path:
    """Name the link: a fleet whose files lie elsewhere than its fleet.yaml, as in tests, leaves it there, too."""
    return pointer(Path(plan.state_dir).parent.with_name(Path(plan.file).name))


def _unpoint(plan: Plan) -> None:
    link = _link(plan)
    with contextlib.suppress(OSError):
        if str(link.readlink()) == plan.control:
            link.unlink()

"""The embedded broker as one more process: starting it, knowing when it answers, and its end.

A keeper, a shell of half a megabyte, holds the read end of a pipe whose write ends are the supervisor's and the
workers'. When all of them are gone, however that came about, it stops the broker: workers that outlive a killed
supervisor can finish their tasks, and nothing is left behind after them.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from celeryfleet.plan.values import BrokerPlan
from celeryfleet.supervise import process

#: seconds between two tries to reach a broker that is starting
RETRY = 0.01
#: seconds a starting broker may take to answer, loading its data included
PATIENCE = 120.0

_KEEPER = 'read -r _; kill -TERM "$1" 2>/dev/null'


def start(plan: BrokerPlan, log: Path) -> int:
    """Start the server on its own socket and data; return its pid. Raises OSError."""
    data = Path(plan.data)
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    Path(plan.socket).unlink(missing_ok=True)
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return process.spawn(plan.argv, os.environ, out=out)
    finally:
        os.close(out)


def keep(pid: int, lifeline: int) -> int:
    """Start the keeper of a broker; `lifeline` is the read end. Return the keeper's pid."""
    return process.spawn(["/bin/sh", "-c", _KEEPER, "celeryfleet-broker-keeper", str(pid)], os.environ, stdin=lifeline)


async def answers(path: str) -> bool:
    """Ask the server on this socket once whether it is ready to work."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, path)
            await loop.sock_sendall(sock, b"PING\r\n")
            reply = await asyncio.wait_for(loop.sock_recv(sock, 64), 1.0)
        except (OSError, TimeoutError):
            return False
    return reply.startswith(b"+PONG")


async def until_it_answers(path: str) -> bool:
    """Wait for the server on this socket; False if it stays silent too long."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not await answers(path):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(RETRY)
    return True

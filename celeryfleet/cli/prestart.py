"""Starts a supervisor before the command line has read fleet.yaml: both take a fifth of a second, side by side.

The supervisor waits for its plan on a socket. If none comes, because fleet.yaml is wrong or the fleet runs already,
the socket is closed and it ends. Nothing heavy may be imported here.
"""

from __future__ import annotations

import os
import socket
import sys

_prepared: socket.socket | None = None


def prepare() -> None:
    """Start a supervisor that will be taken later."""
    global _prepared
    _prepared = _spawn()


def take() -> socket.socket:
    """Return the socket to a supervisor that waits for its plan: the prepared one, or a new one. Raises OSError."""
    global _prepared
    found, _prepared = _prepared, None
    return found or _spawn()


def _spawn() -> socket.socket:
    """Start a supervisor in a session of its own; it outlives us, and nobody waits for it."""
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-P", "-m", "celeryfleet.supervise", str(theirs.fileno())]
    with theirs:
        theirs.set_inheritable(True)
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, setsid=True)
    return ours

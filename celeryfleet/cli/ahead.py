"""Starts a supervisor before the command line has read fleet.yaml: both take a fifth of a second, side by side.

The supervisor waits for its plan on a socket. If none comes, because fleet.yaml is wrong or the fleet runs already,
the socket is closed and it ends. Nothing heavy may be imported here.
"""

from __future__ import annotations

import os
import socket
import sys

#: options before the command that take a value
_WITH_VALUE = ("-f", "--file", "--env-file", "--profile")

_prepared: socket.socket | None = None


def prepare(argv: list[str], running: bool) -> None:
    """Start a supervisor ahead if these words will need one."""
    global _prepared
    if not running and _starts_a_fleet(argv):
        _prepared = spawn()


def take() -> socket.socket:
    """Return the socket to a supervisor that waits for its plan: the one started ahead, or a new one."""
    global _prepared
    found, _prepared = _prepared, None
    return found or spawn()


def spawn() -> socket.socket:
    """Start a supervisor in a session of its own; it outlives us, and nobody waits for it. Raises OSError."""
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-P", "-m", "celeryfleet.supervise", str(theirs.fileno())]
    with theirs:
        theirs.set_inheritable(True)
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, setsid=True)
    return ours


def _starts_a_fleet(argv: list[str]) -> bool:
    words = iter(argv)
    for word in words:
        if word in _WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word == "up" and not {"--dry-run", "--help", "-h"} & set(words)
    return False

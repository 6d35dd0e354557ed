"""The supervisor's process: takes the plan from its parent, holds the fleet's lock, and supervises until the end."""

from __future__ import annotations

import socket
import sys

from celeryfleet.supervise import process
from celeryfleet.supervise.forkserver import ServerProcess


def main() -> None:
    """Serve the fleet described by the first message on the descriptor named on the command line."""
    parent = socket.socket(fileno=int(sys.argv[1]))
    parent.set_inheritable(False)
    # The fork server starts to import Celery while the parent still reads fleet.yaml.
    server = ServerProcess.start() if process.become_subreaper() else None

    from celeryfleet.supervise.boot import boot

    boot(parent, server)


if __name__ == "__main__":
    main()

"""The two ways into a worker: `server` forks workers from one import, `exec` is one worker by itself."""

from __future__ import annotations

import sys


def main() -> None:
    """Run what the supervisor asks for; both speak to it over inherited descriptors."""
    if sys.argv[1] == "server":
        from celeryfleet.worker.preload import serve

        serve(int(sys.argv[2]), int(sys.argv[3]))
    else:
        from celeryfleet.worker.main import run_exec

        run_exec(int(sys.argv[2]), int(sys.argv[3]))


if __name__ == "__main__":
    main()

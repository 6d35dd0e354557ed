"""The fleet that is broken: its files, its commands, its processes, and whether it is ready."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measure
from celeryfleet.cli.lean import health
from celeryfleet.errors import FleetError
from celeryfleet.protocol import GetStatus, Status
from celeryfleet.supervise.control_client import Client
from chaos.brokers import anonymous

QUEUES = ("fast", "shared", "slow", "solo", "threads")
#: the pools that are scaled, with the replicas that fleet.yaml gives them
REPLICAS = {"fast": 2, "slow": 2, "wide": 1}
_FLEET = """\
name: chaos
app: shop
broker: "{broker}"
results: none
default_queue: fast
queues: {{{queues}}}
celery: {{task_reject_on_worker_lost: true}}
x-restart: &restart {{backoff: 50ms, max_backoff: 500ms, max_restarts: 1000, window: 1m}}
pools:
  fast: {{queues: [fast, shared], replicas: 2, concurrency: 2, restart: *restart}}
  slow: {{queues: [slow], replicas: 2, prefetch_multiplier: 1, restart: *restart}}
  wide: {{queues: [threads, shared], pool: threads, concurrency: 4, restart: *restart}}
  solo: {{queues: [solo], pool: solo, restart: *restart}}
"""
#: seconds that a command may take, and that the supervisor may take to answer
_COMMAND, _ANSWER = 120.0, 3.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Parts:
    """The processes of a fleet at one moment."""

    supervisor: int
    #: none where it is being started
    fork_server: tuple[int, ...]
    #: main processes
    workers: tuple[int, ...]
    #: of the pools
    children: tuple[int, ...]


class Fleet:
    """A fleet in a folder of its own."""

    def __init__(self, home: Path, broker: str, say: Say) -> None:
        self.home = home
        self.state = home / ".celeryfleet"
        self.file = home / "fleet.yaml"
        self._say = say
        self._app = home / "shop.py"
        self._env = {key: value for key, value in os.environ.items() if not key.startswith(("CELERY", "COLUMNS"))}
        queues = ", ".join(f"{name}: {{max_priority: 10}}" for name in QUEUES)
        self.file.write_text(_FLEET.format(broker=broker, queues=queues))
        shutil.copy(Path(__file__).with_name("shop.py"), self._app)

    def run(self, *words: str) -> int:
        """Run a command to its end; what fails is said, and is for the verdict to weigh."""
        command = (sys.executable, "-m", "celeryfleet", *words)
        try:
            done = subprocess.run(
                command, cwd=self.home, env=self._env, capture_output=True, text=True, timeout=_COMMAND, check=False
            )
        except subprocess.TimeoutExpired:
            self._say(f"{' '.join(words)}: did not end within {_COMMAND:g} s")
            return 124
        if done.returncode:
            self._say(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
        return done.returncode

    def up(self) -> int:
        """Start what does not run."""
        return self.run("up", "-d", "--wait", "--wait-timeout", "60")

    def change_code(self) -> None:
        """Give the app a new line."""
        with self._app.open("a") as app:
            app.write("# another version\n")

    def trouble(self) -> str:
        """Say why the fleet is not ready; empty if it is."""
        try:
            with self._client() as client:
                ready, text = health(client)
        except (FleetError, OSError) as error:
            return str(error)
        return "" if ready else text

    def parts(self) -> Parts:
        """Return what runs now. Raises FleetError where the supervisor does not answer."""
        with self._client() as client:
            status = client.ask(GetStatus(exact=False), Status)
        workers = [worker.pid for pool in status.pools for worker in pool.workers if worker.pid]
        return Parts(
            supervisor=status.supervisor.pid or 0,
            fork_server=tuple(pid for pid in self.pids() if "fork server" in measure.title(pid)),
            workers=tuple(workers),
            children=tuple(child for pid in workers for child in _children(pid)),
        )

    def pids(self) -> tuple[int, ...]:
        """Return all that runs in its folder."""
        return tuple(sorted(measure.pids_in(self.home) - {os.getpid()}))

    def files(self) -> Counter[str]:
        """Count the files of its state, but for logs and the broker's, with numbers made alike."""
        found = (path.relative_to(self.state) for path in self.state.rglob("*"))
        return Counter(anonymous(str(path)) for path in found if not {"logs", "broker"} & set(path.parts))

    def _client(self) -> Client:
        return Client(str(self.state / "chaos" / "control.sock"), timeout=_ANSWER)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []

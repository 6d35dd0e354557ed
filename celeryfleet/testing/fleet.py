"""A running fleet in the hands of a test: what it is asked, and what is done to it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import Exit, FleetError

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan
    from celeryfleet.protocol import Status, WorkerStatus
    from celeryfleet.supervise.control_client import Client
    from celeryfleet.testing.apps import Apps

#: seconds between two looks, and that a cold stop may take
_LOOK, _STOP = 0.02, 30.0


class Fleet:
    """A fleet that is ready; `with` closes it at the end of the block."""

    def __init__(self, plan: Plan, client: Client, apps: Apps, folder: Path, aliases: Mapping[str, str]) -> None:
        self._plan = plan
        #: while it is open, the fleet lives: the supervisor stops it when we are gone, however that comes about
        self._client = client
        self.apps = apps
        self._aliases = aliases
        self.name = plan.fleet
        #: what a command takes for it: `celeryfleet -f FILE status`; its logs lie in the folder
        self.file = folder / Path(plan.file).name
        #: has the app of this process send to a fleet for a while, whichever it sends to otherwise
        self.using: Callable[[Fleet], AbstractContextManager[None]] = lambda fleet: nullcontext()
        self.on_close: Callable[[], object] = lambda: None
        self._open = True

    @property
    def app(self) -> Any:
        """The user's Celery app, in this process; of several, the first of fleet.yaml."""
        return self.apps.first

    def send(self, task: str, /, *args: Any, **kwargs: Any) -> Any:
        """Send a task by an alias, a short name or its full one; return Celery's AsyncResult of it."""
        from celery.result import AsyncResult

        from celeryfleet.app import import_tasks
        from celeryfleet.client import names, send

        import_tasks(self.app)
        name = names.resolve_name(task, self.app.tasks, self._aliases)
        with self.using(self):
            return AsyncResult(send.send(self.app, name, args, kwargs).id, app=self.app)

    def status(self) -> Status:
        """Return what `celeryfleet status --json` shows, as values, with the queues' depths."""
        from celeryfleet.cli.lean import collect

        return collect(self._client)

    def worker(self, name: str) -> WorkerStatus:
        """Return one worker of the status, such as web-1."""
        workers = {worker.name: worker for pool in self.status().pools for worker in pool.workers}
        if name not in workers:
            from celeryfleet.fleetfile.suggest import unknown

            raise unknown("worker", name, workers)
        return workers[name]

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until all workers are ready. Raises FleetError if they can't be, or after `timeout` seconds."""
        from celeryfleet.cli.launch import await_ready

        await_ready(self._client, timeout)
        self._client.patience(timeout)

    def wait_empty(self, timeout: float = 30.0) -> None:
        """Wait until no task waits, runs or is scheduled. Raises FleetError after `timeout` seconds."""
        deadline, before = time.monotonic() + timeout, None
        while True:
            status = self.status()
            workers = [worker for pool in status.pools for worker in pool.workers]
            busy = [f"{worker.name} runs {worker.active}" for worker in workers if worker.active]
            busy += [
                f"{q.name} has {q.ready} + {q.unacked} unacknowledged" for q in status.queues if q.ready or q.unacked
            ]
            # A task may pass from a queue to a worker between two answers: nothing has if none was begun since.
            begun = sum(worker.processed for worker in workers)
            if not busy and before == begun:
                return
            before = None if busy else begun
            if time.monotonic() > deadline:
                raise FleetError(f"not empty after {timeout:g} s: {', '.join(busy)}.", code=Exit.TIMEOUT)
            time.sleep(_LOOK)

    def purge(self) -> int:
        """Drop what waits in the queues; return how many messages that were."""
        from celeryfleet.client.broker import purge

        return purge(self._plan, [queue.name for queue in self._plan.queues])

    def kill(self, worker: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to the process of a worker, and wait until a killed one is gone; return its pid."""
        pid = self.worker(worker).pid
        if pid is None:
            raise FleetError(f"{worker} has no process now.")
        os.kill(pid, number)
        deadline = time.monotonic() + _STOP
        while number == signal.SIGKILL and self.worker(worker).pid == pid and time.monotonic() < deadline:
            time.sleep(_LOOK)
        return pid

    def logs(self, since: float = 0.0) -> list[str]:
        """Return the lines of all logs but the broker's since a time (unix seconds), each after its worker's name."""
        from celeryfleet.logs.read import Follower

        follower = Follower(Path(self._plan.state_dir) / "logs", lambda name: name != "broker")
        lines = [f"{name} | {line}" for name, line in follower.backlog(since=since)]
        follower.close()
        return lines

    def close(self) -> None:
        """Stop it at once, with what still runs, and wait until nothing of it is left."""
        from celeryfleet.protocol import Settled, Stop, Wait
        from celeryfleet.supervise.control_client import NotRunningError

        if not self._open:
            return
        self._open = False
        with self._client as client:
            self.on_close()
            client.patience(_STOP)
            try:
                client.do(Stop(cold=True))
                while True:  # it hangs up when all is gone
                    client.ask(Wait(until="gone"), Settled)
            except NotRunningError:
                return

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

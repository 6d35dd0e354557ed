"""The broker that all peers share, and what can be asked of the workers through it: who is there, who answers."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Celery

from celeryfleet.plan.broker import server_command, socket_url
from celeryfleet.redis_client import BrokerError, Connection, connect
from celeryfleet.supervise.program import find_server

if TYPE_CHECKING:
    from celeryfleet.redis_client import Reply, Word

#: seconds between two looks at a broker; each takes it some 50 µs
PAUSE = 0.005


class NotReadyError(RuntimeError):
    """The workers did not come up in time."""


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run a Valkey with the flags of celeryfleet's embedded one; give its URL."""
    socket = folder / "broker.sock"
    command = server_command(find_server(), str(socket), str(folder))
    with (folder / "broker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        url = socket_url(str(socket))
        _connected(url, time.monotonic() + 10).close()
        yield url
    finally:
        process.kill()
        process.wait()


def _connected(url: str, deadline: float) -> Connection:
    while True:
        try:
            return connect(url)
        except BrokerError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)


class Crowd:
    """The workers that are connected to a broker.

    A worker counts as ready when it answers ping. To see that at once without asking all the time, the broker is
    asked who listens for broadcasts; only when that many do, one ping is sent, which waits in each worker's socket
    until it consumes and so is answered the moment that it does.
    """

    def __init__(self, url: str, ears: int = 1, patience: float = 30.0) -> None:
        self.url = url
        #: connections on which each worker listens; gossip takes one more
        self.ears = ears
        self.patience = patience
        self._app = Celery("crowd", broker=url, backend=url, set_as_current=False)
        self._app.conf.control_queue_ttl = 600.0
        self._broker = _connected(url, time.monotonic() + patience)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *error: object) -> None:
        self._broker.close()
        self._app.close()

    def call(self, *words: Word) -> Reply:
        """Send the broker one command."""
        return self._broker.call(*words)

    def pipeline(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        """Send the broker many commands at once."""
        return self._broker.pipeline(commands)

    def listeners(self) -> frozenset[str]:
        """Return the ids of the connections on which workers hear broadcasts."""
        text = self.call("CLIENT", "LIST", "TYPE", "pubsub")
        lines = text.decode().splitlines() if isinstance(text, bytes) else []
        clients = (dict(part.partition("=")[::2] for part in line.split()) for line in lines)
        return frozenset(client["id"] for client in clients if client.get("psub") != "0")

    def await_all(self, count: int) -> None:
        """Return when `count` workers answer ping; at once where none are to be waited for."""
        if not count:
            return
        self._until(lambda: len(self.listeners()) >= count * self.ears, f"{count} workers to connect")
        answers = self.ask("ping", limit=count)
        if len(answers) < count:
            raise NotReadyError(f"{len(answers)} of {count} workers answer ping: {sorted(answers)}")

    def await_new(self, node: str, before: frozenset[str]) -> None:
        """Return when a worker of this name that was not there `before` answers ping."""
        self._until(lambda: len(self.listeners() - before) >= self.ears, f"another {node}")
        if not self.ask("ping", limit=1, destination=[node]):
            raise NotReadyError(f"{node} does not answer ping")

    def pids(self, count: int) -> dict[str, int]:
        """Return the main process of each of `count` workers, by node name."""
        return {node: int(answer["pid"]) for node, answer in self.ask("stats", limit=count).items()}

    def ask(self, what: str, limit: int, destination: list[str] | None = None) -> dict[str, Any]:
        """Broadcast a request; return the replies by node name as soon as there are `limit` of them."""
        replies = self._app.control.broadcast(
            what, reply=True, limit=limit, timeout=self.patience, destination=destination
        )
        return {node: answer for reply in replies or [] for node, answer in reply.items()}

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > deadline:
                raise NotReadyError(f"waited {self.patience:g} s for {what}")
            time.sleep(PAUSE)

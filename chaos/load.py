"""Sends tasks in a thread of its own, as a producer of the fleet, and knows which ones the broker has confirmed."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from celery import Celery

import celeryfleet
from chaos.ledger import Ledger
from chaos.schedule import LATE, Burst

#: tasks that may be under way at once, so that a run ends soon after its last fault
_UNDER_WAY = 400
#: seconds between two attempts at a broker that is away
_PAUSE = 0.1
#: seconds after which a task that has not come through a queue is taken for lost, and followed by another
_ANOTHER = 5.0


class Sender:
    """Sends tasks over one connection, which is opened anew after each failure."""

    def __init__(self, file: Path, options: Mapping[str, Any]) -> None:
        self._app = Celery("producer", set_as_current=False)
        celeryfleet.install(self._app, file)
        self._app.conf.update(task_publish_retry=False, broker_connection_timeout=3.0)
        self._app.conf.broker_transport_options = {**self._app.conf.broker_transport_options, **options}
        self._connection: Any = None

    def send(self, task: str, seconds: float, id_: str, queue: str, **options: Any) -> bool:
        """Send a task once; tell whether the broker has it for sure."""
        try:
            if self._connection is None:
                self._connection = self._app.connection_for_write()
                self._connection.ensure_connection(max_retries=1, interval_start=0)  # by default it first waits for 2 s
            with self._app.amqp.Producer(self._connection.default_channel) as producer:
                self._app.send_task(task, (seconds,), task_id=id_, queue=queue, producer=producer, **options)
        except Exception:  # whatever a broker that is being killed makes of it: the task is not counted as sent
            self.close()
            return False
        return True

    def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect(socket_timeout=1.0)


class Load:
    """Bursts of tasks, one after the other, until it is stopped."""

    def __init__(self, bursts: Iterator[Burst], sender: Sender, ledger: Path) -> None:
        #: ids that the broker has confirmed
        self.sent: list[str] = []
        #: sends that failed; their tasks may run or not
        self.unsure = 0
        self._bursts, self._sender, self._ledger = bursts, sender, Ledger(ledger)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the task that is being sent."""
        self._stopped.set()
        self._thread.join()
        self._sender.close()

    def _run(self) -> None:
        for burst in self._bursts:
            for job in burst.jobs:
                while not self._stopped.is_set() and self._full():
                    self._stopped.wait(_PAUSE)
                if self._stopped.is_set():
                    return
                if self._sender.send(job.ack, job.seconds, job.id, job.queue, countdown=job.countdown):
                    self.sent.append(job.id)
                else:
                    self.unsure += 1
                    self._stopped.wait(_PAUSE)
            self._stopped.wait(burst.silence)

    def _full(self) -> bool:
        if len(self.sent) % 20:
            return False
        self._ledger.read()
        return len(self.sent) - len(self._ledger.begun) > _UNDER_WAY


class Probe:
    """A task through each queue, sent from now on: urgent, so that it passes what waits."""

    def __init__(self, load: Load, sender: Sender, queues: Collection[str], name: str) -> None:
        self._load, self._sender, self._name = load, sender, name
        #: the ids sent into each queue through which none has come, and when the last one was
        self._waiting: dict[str, list[str]] = {queue: [] for queue in queues}
        self._sent_at = dict.fromkeys(queues, -_ANOTHER)

    def through(self, begun: Mapping[str, int], now: float) -> bool:
        """Tell whether one has begun in each queue; where none has for long, send another one."""
        for queue, ids in list(self._waiting.items()):
            if any(id_ in begun for id_ in ids):
                del self._waiting[queue]
            elif now - self._sent_at[queue] > _ANOTHER:
                id_ = f"{LATE}-{self._name}-{queue}-{len(ids)}"
                if self._sender.send(LATE, 0.0, id_, queue, priority=9):
                    self._load.sent.append(id_)
                    self._sent_at[queue] = now
                    ids.append(id_)
        return not self._waiting

    def missing(self) -> str:
        """Name the queues through which nothing has come."""
        return ", ".join(self._waiting)

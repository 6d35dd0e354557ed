"""Measures no-op tasks end to end: from the first message in a queue to the last one acknowledged."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

from celery import Celery

import celeryfleet
from benchmarks import peers
from benchmarks.broker import PAUSE, Crowd
from benchmarks.bulk import BROKER, answers
from benchmarks.running import Running, running
from benchmarks.samples import Samples

if TYPE_CHECKING:
    from celeryfleet.redis_client import Word

#: plain workers with the settings that celeryfleet generates, but with Celery's own flags
OWN_FLAGS = "celery worker, same settings, own flags"
SAME = "celery worker, same settings and flags"
#: tasks that go through before the clock starts
_WARM_UP = 400
#: the share of tasks that is done before the clock starts on RabbitMQ, where they wait for the workers to start
_SKIPPED = 0.2
#: seconds in which all tasks have to be done
_PATIENCE = 300.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Load:
    """Tasks of one kind, for so many workers of one process and one queue each."""

    name: str
    workers: int
    task: str = "shop.noop"
    argument: str = ""

    @property
    def measure(self) -> str:
        """Name the measurement."""
        return f"{self.name}, {self.workers} worker{'s'[: self.workers - 1]}, 1/s"


ONE = Load("no-op tasks", 1)
FOUR = Load("no-op tasks", 4)
RESULTS = Load("no-op tasks with results", 1, "shop.noop_result")
FOUR_RESULTS = Load("no-op tasks with results", 4, "shop.noop_result")
LATE = Load("no-op tasks with late acknowledgements", 1, "shop.noop_late")
LARGE = Load("no-op tasks with 10 kB of arguments", 1, argument="x" * 10_000)
RABBIT = Load("no-op tasks with results on RabbitMQ", 1, "shop.noop_result")
LOADS = (ONE, RESULTS, LATE, LARGE, FOUR, FOUR_RESULTS)


def measure(samples: Samples, url: str, count: int, say: Say) -> None:
    """Send `count` tasks of each kind through each peer, one after the other."""
    for workers in (1, 4):
        with running(peers.fleet(workers, url), workers, url) as peer:
            settings = _settings(peer)
            _measure(samples, peers.FLEET, peer, workers, count, say)
        for name, flags in ((SAME, peers.LEAN), (OWN_FLAGS, ())):
            with running(_plain(name, flags, workers, settings), workers, url) as peer:
                _measure(samples, name, peer, workers, count, say)
    _measure_rabbit(samples, url, count, say)


def _measure(samples: Samples, name: str, peer: Running, workers: int, count: int, say: Say) -> None:
    for load in (load for load in LOADS if load.workers == workers):
        run(peer.crowd, messages(peer.crowd, _WARM_UP, load), workers)
        rate = count / run(peer.crowd, messages(peer.crowd, count, load), workers)
        samples.add(load.measure, name, rate)
        say(f"{name}, {load.measure}: {rate:.0f}")


def _plain(name: str, flags: tuple[str, ...], workers: int, settings: str, **env: str) -> peers.Recipe:
    commands = tuple(peers.worker(number, flags) for number in range(1, workers + 1))
    files, env = {"settings.py": settings}, {"BENCH_SETTINGS": "settings", **env}
    return peers.Recipe(name, files, commands, env=env, ears=peers.ears(bool(flags)))


def _settings(peer: Running) -> str:
    words = ["celeryfleet", "config", "--format", "python"]
    return subprocess.run(words, cwd=peer.folder, env=peer.env, capture_output=True, text=True, check=True).stdout


def messages(crowd: Crowd, count: int, load: Load = ONE) -> list[bytes]:
    """Return messages with ids of their own.

    Celery writes one; the others are copies of it. So all can be in the queues at once, and the workers set the
    pace, not the producer.
    """
    with Celery("producer", broker=crowd.url, backend=crowd.url, set_as_current=False) as app:
        task = app.send_task(load.task, (load.argument,), queue="template").id
    text = crowd.call("RPOP", "template")
    if not isinstance(text, bytes):
        raise RuntimeError("the task's message is not in its queue")
    tag = text.partition(b'"delivery_tag": "')[2].partition(b'"')[0]
    return [text.replace(task.encode(), _new_id()).replace(tag, _new_id()) for _ in range(count)]


def _new_id() -> bytes:
    return str(uuid.uuid4()).encode()


def run(crowd: Crowd, texts: list[bytes], queues: int) -> float:
    """Put messages into the queues, evenly, and return the seconds until the last one is acknowledged."""
    names = [peers.queue(number + 1) for number in range(queues)]
    begun = time.perf_counter()
    pushes: list[list[Word]] = [["LPUSH", name, *texts[number::queues]] for number, name in enumerate(names)]
    crowd.pipeline(pushes)
    while crowd.call("EXISTS", *names) or _unacknowledged(crowd):
        if time.perf_counter() - begun > _PATIENCE:
            raise RuntimeError(f"not all of {len(texts)} tasks are done after {_PATIENCE:g} s")
        time.sleep(PAUSE)
    return time.perf_counter() - begun


def _unacknowledged(crowd: Crowd) -> bool:
    keys = crowd.call("KEYS", "unacked*")
    assert isinstance(keys, list)
    named = [key for key in keys if isinstance(key, bytes) and not key.startswith(b"unacked_")]
    return any(crowd.pipeline([["HLEN", key] for key in named]))


# --- On RabbitMQ: the tasks are there first, and what is counted is their results on the Redis of the others ---


def _measure_rabbit(samples: Samples, url: str, count: int, say: Say) -> None:
    with Celery("bench", broker=BROKER, backend=url, set_as_current=False) as app:
        if not answers(app):
            return
        env = {"BENCH_BROKER": BROKER, "BENCH_RESULTS": url}
        fleet = peers.fleet(1, BROKER, results=url, env=env)
        with running(fleet, 0, url) as peer:
            settings = _settings(peer)
        lean = _plain(SAME, peers.LEAN, 1, settings, **env)
        for name, recipe in ((peers.FLEET, fleet), (SAME, lean)):
            with _filled(app, settings, count), running(recipe, 0, url) as peer:
                rate = _rate_of_results(peer.crowd, count)
            samples.add(RABBIT.measure, name, rate)
            say(f"{name}, {RABBIT.measure}: {rate:.0f}")


@contextmanager
def _filled(app: Celery, settings: str, count: int) -> Iterator[None]:
    """Have the tasks in a queue of RabbitMQ, which is deleted afterwards."""
    found: dict[str, Any] = {}
    exec(settings, found)  # as the plain workers do
    app.conf.update({key: found[key] for key in ("task_queues", "task_routes", "task_default_queue")})
    with app.connection_for_write() as connection:
        queue = app.amqp.queues[peers.queue(1)].bind(connection.default_channel)
        queue.declare()
        queue.purge()
        try:
            celeryfleet.bulk(app, RABBIT.task, repeat(("",), count), queue=peers.queue(1))
            yield
        finally:
            queue.delete()


def _rate_of_results(crowd: Crowd, count: int) -> float:
    begun, at = time.perf_counter(), dict.fromkeys((round(count * _SKIPPED), count), 0.0)
    for wanted in at:
        while len(crowd.call("KEYS", "celery-task-meta-*") or ()) < wanted:  # type: ignore[arg-type]
            if time.perf_counter() - begun > _PATIENCE:
                raise RuntimeError(f"not all of {count} tasks are done after {_PATIENCE:g} s")
            time.sleep(PAUSE * 4)
        at[wanted] = time.perf_counter()
    (first, start), (last, end) = at.items()
    return (last - first) / (end - start)

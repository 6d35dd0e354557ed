"""Measures no-op tasks end to end: from the first message in a queue to the last result in the backend."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Mapping

from celery import Celery

from benchmarks import peers
from benchmarks.broker import PAUSE, Crowd
from benchmarks.running import Running, running
from benchmarks.samples import Samples

#: workers, each with a queue of its own
COUNT = 4
MEASURE = f"no-op tasks through {COUNT} pools, 1/s"
#: plain workers with the settings that celeryfleet generates, but with Celery's own flags
OWN_FLAGS = "celery worker, same settings, own flags"
SAME = "celery worker, same settings and flags"
#: tasks that go through before the clock starts
_WARM_UP = 400
#: seconds in which all tasks have to be done
_PATIENCE = 300.0

Say = Callable[[str], None]
Messages = Mapping[str, bytes]


def measure(samples: Samples, url: str, count: int, say: Say) -> None:
    """Send `count` tasks through each peer, one after the other."""
    settings = ""
    with running(peers.fleet(COUNT, url), COUNT, url) as peer:
        settings = _settings(peer)
        _measure(samples, peers.FLEET, peer, count, say)
    for name, flags in ((SAME, peers.LEAN), (OWN_FLAGS, ())):
        commands = tuple(peers.worker(number, flags) for number in range(1, COUNT + 1))
        recipe = peers.Recipe(
            name, {"settings.py": settings}, commands, env={"BENCH_SETTINGS": "settings"}, ears=peers.ears(bool(flags))
        )
        with running(recipe, COUNT, url) as peer:
            _measure(samples, name, peer, count, say)


def _measure(samples: Samples, name: str, peer: Running, count: int, say: Say) -> None:
    run(peer.crowd, messages(peer.crowd, _WARM_UP), COUNT)
    rate = count / run(peer.crowd, messages(peer.crowd, count), COUNT)
    samples.add(MEASURE, name, rate)
    say(f"{name}: {rate:.0f} tasks a second")


def _settings(peer: Running) -> str:
    words = ["celeryfleet", "config", "--format", "python"]
    return subprocess.run(words, cwd=peer.folder, env=peer.env, capture_output=True, text=True, check=True).stdout


def messages(crowd: Crowd, count: int) -> Messages:
    """Return messages of no-op tasks by task id.

    Celery writes one; the others are copies of it with ids of their own. So all can be in the queues at once, and
    the workers set the pace, not the producer.
    """
    with Celery("producer", broker=crowd.url, backend=crowd.url, set_as_current=False) as app:
        task = app.send_task("shop.noop", queue="template").id
    text = crowd.call("RPOP", "template")
    if not isinstance(text, bytes):
        raise RuntimeError("the task's message is not in its queue")
    ids = [str(uuid.uuid4()) for _ in range(count)]
    return {new: text.replace(task.encode(), new.encode()).replace(_tag(text), _new_tag()) for new in ids}


def _tag(text: bytes) -> bytes:
    return text.partition(b'"delivery_tag": "')[2].partition(b'"')[0]


def _new_tag() -> bytes:
    return str(uuid.uuid4()).encode()


def run(crowd: Crowd, tasks: Messages, queues: int) -> float:
    """Put the tasks in the queues, evenly, and return the seconds until all have a result."""
    texts = list(tasks.values())
    pushes: list[list[str | bytes]] = [
        ["LPUSH", peers.queue(number + 1), *texts[number::queues]] for number in range(queues)
    ]
    results = [f"celery-task-meta-{task}" for task in tasks]
    begun = time.perf_counter()
    crowd.pipeline(pushes)
    left = results
    while left:
        # the last ones first: as long as one lacks, the others need not be looked at
        if crowd.call("EXISTS", *left[-queues:]) == len(left[-queues:]):
            left = _lacking(crowd, left)
        elif time.perf_counter() - begun > _PATIENCE:
            raise RuntimeError(f"{len(left)} of {len(results)} tasks have no result after {_PATIENCE:g} s")
        else:
            time.sleep(PAUSE)
    return time.perf_counter() - begun


def _lacking(crowd: Crowd, results: list[str]) -> list[str]:
    there = crowd.pipeline([["EXISTS", result] for result in results])
    return [result for result, found in zip(results, there, strict=True) if found != 1]

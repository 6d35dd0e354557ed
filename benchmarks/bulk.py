"""Measures how fast tasks get into the queues: `celeryfleet.bulk` beside loops of `delay()`, on Redis and RabbitMQ."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from typing import Any

from celery import Celery
from kombu import pools

import celeryfleet
from benchmarks.samples import Samples

REDIS = "tasks sent to Redis, 1/s"
RABBIT = "tasks sent to RabbitMQ with confirms, 1/s"
SAME = "celeryfleet.bulk, the same arguments"
VARYING = "celeryfleet.bulk, varying arguments"
HOOKED = "celeryfleet.bulk, with a receiver of another's"
LOOP = "a delay() loop"
LEAN = "a loop with one producer, ignore_result"
GROUP = "a group"
#: a RabbitMQ to measure on; nothing is measured there if it is not running
BROKER = os.environ.get("BENCH_RABBIT", "amqp://guest:guest@127.0.0.1:5672//")

Say = Callable[[str], None]


def measure(samples: Samples, url: str, count: int, say: Say) -> None:
    """Send `count` tasks in each way that takes batches, and a tenth as many one by one."""
    with _app(url, url) as app:
        for name, rate in (*_loops(app, count // 10), *_bulks(app, count), _hooked(app, count // 10)):
            samples.add(REDIS, name, rate)
            say(f"Redis, {name}: {rate:,.0f} tasks a second")
    with _app(BROKER, url, broker_transport_options={"confirm_publish": True}) as app:
        if not answers(app):
            say(f"{BROKER.rpartition('@')[2]} is not there: nothing is measured on RabbitMQ")
            return
        try:
            for name, rate in (_loop(app, count // 10), *_bulks(app, count)):
                samples.add(RABBIT, name, rate)
                say(f"RabbitMQ, {name}: {rate:,.0f} tasks a second")
        finally:
            _delete(app)


@contextmanager
def _app(broker: str, results: str, **conf: Any) -> Iterator[Any]:
    name = f"bench-bulk-{uuid.uuid4().hex[:8]}"
    app = Celery("bulk", broker=broker, backend=results, set_as_current=False)
    app.conf.update(task_default_queue=name, task_default_exchange=name, task_default_routing_key=name, **conf)

    @app.task(name="shop.add", shared=False)  # type: ignore[untyped-decorator, unused-ignore]
    def add(x: int, y: int) -> int:
        """Add two numbers."""
        return x + y

    try:
        yield app
    finally:
        pools.reset()
        app.close()


def _loops(app: Any, count: int) -> Iterator[tuple[str, float]]:
    yield _loop(app, count)
    add = app.tasks["shop.add"]
    with app.producer_or_acquire() as producer:

        def lean() -> None:
            for number in range(count):
                add.apply_async((number, 4), producer=producer, ignore_result=True)

        yield LEAN, _rate(lean, count)
    from celery import group

    yield GROUP, _rate(lambda: group(add.s(number, 4) for number in range(count)).apply_async(), count)


def _loop(app: Any, count: int) -> tuple[str, float]:
    add = app.tasks["shop.add"]
    add.delay(4, 4)

    def loop() -> None:
        for number in range(count):
            add.delay(number, 4)

    return LOOP, _rate(loop, count)


def _bulks(app: Any, count: int) -> Iterator[tuple[str, float]]:
    add = app.tasks["shop.add"]
    yield SAME, _rate(lambda: celeryfleet.bulk(app, add, repeat((4, 4), count)), count)
    yield VARYING, _rate(lambda: celeryfleet.bulk(app, add, ((number, 4) for number in range(count))), count)


def _hooked(app: Any, count: int) -> tuple[str, float]:
    """Send while a receiver, such as that of a tracer, has Celery make every message."""
    from celery.signals import before_task_publish

    def receiver(headers: dict[str, Any] | None = None, **_: Any) -> None:
        if headers is not None:
            headers["trace"] = "1"

    before_task_publish.connect(receiver)
    try:
        add = app.tasks["shop.add"]
        items = ((number, 4) for number in range(count))
        return HOOKED, _rate(lambda: celeryfleet.bulk(app, add, items), count)
    finally:
        before_task_publish.disconnect(receiver)


def _rate(work: Callable[[], object], count: int) -> float:
    begun = time.perf_counter()
    kept = work()  # results that are let go unsubscribe, which is no part of the sending
    seconds = time.perf_counter() - begun
    del kept
    return count / seconds


def answers(app: Any) -> bool:
    from celeryfleet.client.broker import reach

    return not reach(app.conf.broker_write_url)


def _delete(app: Any) -> None:
    with app.connection_for_write() as connection, connection.channel() as channel:
        channel.queue_delete(app.conf.task_default_queue)
        channel.exchange_delete(app.conf.task_default_exchange)

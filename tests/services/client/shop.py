# mypy: disable-error-code="untyped-decorator"
"""A Celery app with queues and routes, for a worker and the tests that talk to it; its tasks are no other app's."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

app = Celery("shop")
app.conf.update(
    broker_url=os.environ.get("SHOP_BROKER", ""),
    result_backend=os.environ.get("SHOP_RESULTS", ""),
    task_default_queue="default",
    task_queues=[Queue(name, Exchange(name), name) for name in ("default", "sums", "low", "nobody")],
    task_routes=([("shop.xsum", {"queue": "sums"})],),
    task_create_missing_queues=False,
    broker_transport_options={"priority_steps": list(range(10)), "queue_order_strategy": "priority"},
    worker_prefetch_multiplier=1,
)


@app.task(name="shop.add", shared=False)
def add(x: int, y: int) -> int:
    """Add two numbers.

    More about it.
    """
    return x + y


@app.task(name="shop.mul", shared=False)
def mul(x: int, y: int) -> int:
    return x * y


@app.task(name="shop.xsum", shared=False)
def xsum(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="shop.same", shared=False)
def same(*args: Any) -> Any:
    return args[0] if len(args) == 1 else list(args)


@app.task(name="shop.where", shared=False, bind=True)
def where(self: Any, *_: Any) -> list[str]:
    """Return the queue of this run, after those of the runs before it."""
    before = _[0] if _ and isinstance(_[0], list) else []
    return [*before, self.request.delivery_info["routing_key"]]


@app.task(name="shop.fail", shared=False)
def fail(*args: Any) -> None:
    raise FileNotFoundError("No such image: missing.jpg")


@app.task(name="shop.nap", shared=False)
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task(name="shop.forgetful", shared=False, ignore_result=True)
def forgetful() -> str:
    return "kept all the same"


@app.task(name="shop.typed", shared=False, typing=False)
def untyped(x: int) -> int:
    return x


@app.task(name="shop.stock.add", shared=False)
def stock_add(amount: int, *, note: str = "") -> int:
    return amount

"""A FastAPI application whose tasks run in a fleet."""

from celery import Celery
from fastapi import FastAPI

import celeryfleet

celery = Celery("shop")
celeryfleet.install(celery)  # the broker, queues and routes of fleet.yaml
api = FastAPI()


@celery.task
def receipt(number: int) -> str:
    """Write to a customer."""
    return f"order {number} is on its way"


# Plain functions, which FastAPI runs in threads: to send a task and to look for its result both wait for the broker.
@api.post("/orders/{number}", status_code=202)
def order(number: int) -> dict[str, str]:
    """Take an order, and leave the receipt to a worker."""
    return {"task": receipt.delay(number).id}


@api.get("/tasks/{task}")
def task(task: str) -> dict[str, str | None]:
    """Tell how far a task is."""
    result = celery.AsyncResult(task)
    return {"state": result.state, "result": result.result if result.successful() else None}

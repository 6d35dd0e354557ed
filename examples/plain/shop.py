"""A Celery app and its tasks; which queue each goes to stands in fleet.yaml."""

import time

from celery import Celery

import celeryfleet

app = Celery("shop")
celeryfleet.install(app)  # producers read the broker, queues and routes from fleet.yaml


@app.task
def receipt(order):
    """Write to a customer: quick, and somebody waits for it."""
    return f"receipt of order {order}"


@app.task
def report(month):
    """Add up a month: slow, and nobody waits for it."""
    time.sleep(0.5)
    return f"report of {month}"

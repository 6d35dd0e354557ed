"""The app of a fleet under chaos: its tasks write into a ledger that no broker, disk or worker of the fleet can lose.

It is copied beside the fleet.yaml. A line is one write to a file opened to append: lines of many processes do not mix.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

app = Celery("shop")
_LEDGER = Path(__file__).with_name("ledger")


def _work(task: Any, seconds: float) -> None:
    _write("begin", task.request.id)
    time.sleep(seconds)
    _write("end", task.request.id)


def _write(what: str, task: str) -> None:
    line = f"{what} {task} {os.environ.get('CELERYFLEET_WORKER', '-')} {os.getpid()} {time.time():.3f}\n"
    file = os.open(_LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@app.task(bind=True, acks_late=True, name="late")  # type: ignore[untyped-decorator, unused-ignore]
def late(self: Any, seconds: float) -> None:
    """Work, and be acknowledged afterwards."""
    _work(self, seconds)


@app.task(bind=True, acks_late=False, name="early")  # type: ignore[untyped-decorator, unused-ignore]
def early(self: Any, seconds: float) -> None:
    """Be acknowledged, and work."""
    _work(self, seconds)

"""The app that every peer runs: as small as can be, so that nothing but the engines is measured.

It is copied beside what a peer needs, and is told by BENCH_BROKER where the broker is, and by BENCH_RESULTS where
results go, if elsewhere. BENCH_SETTINGS may name a
module of settings, which is how plain workers get the very settings that celeryfleet gives its own.
"""

from __future__ import annotations

import os

from celery import Celery

app = Celery("shop")
if "BENCH_SETTINGS" in os.environ:
    app.config_from_object(os.environ["BENCH_SETTINGS"])
if "BENCH_BROKER" in os.environ:
    broker = os.environ["BENCH_BROKER"]
    app.conf.update(broker_url=broker, result_backend=os.environ.get("BENCH_RESULTS", broker))


@app.task(ignore_result=True)  # type: ignore[untyped-decorator, unused-ignore]
def noop(argument: str = "") -> None:
    """Do nothing."""


@app.task  # type: ignore[untyped-decorator, unused-ignore]
def noop_result(argument: str = "") -> None:
    """Do nothing, and have that kept."""


@app.task(ignore_result=True, acks_late=True)  # type: ignore[untyped-decorator, unused-ignore]
def noop_late(argument: str = "") -> None:
    """Do nothing, and acknowledge it then."""

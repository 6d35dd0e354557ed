"""The app that every peer runs: as small as can be, so that nothing but the engines is measured.

It is copied beside what a peer needs, and is told by BENCH_BROKER where the broker is. BENCH_SETTINGS may name a
module of settings, which is how plain workers get the very settings that celeryfleet gives its own.
"""

from __future__ import annotations

import os

from celery import Celery

app = Celery("shop")
if "BENCH_SETTINGS" in os.environ:
    app.config_from_object(os.environ["BENCH_SETTINGS"])
if "BENCH_BROKER" in os.environ:
    app.conf.update(broker_url=os.environ["BENCH_BROKER"], result_backend=os.environ["BENCH_BROKER"])


@app.task  # type: ignore[untyped-decorator, unused-ignore]
def noop() -> None:
    """Do nothing."""

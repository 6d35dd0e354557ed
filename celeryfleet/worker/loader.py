"""The loader that gives any app the settings of an exported fleet: CELERY_LOADER=celeryfleet.worker.loader:Loader.

What another engine runs has no supervisor: it reads its settings from the file that `celeryfleet export` wrote.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from celery.loaders.app import AppLoader

from celeryfleet import machine
from celeryfleet.app import apply
from celeryfleet.app.exported import POOL_VARIABLE, read
from celeryfleet.errors import FleetError
from celeryfleet.plan.command import STRATEGIES
from celeryfleet.worker import alive, jsonlog
from celeryfleet.worker.seam import use_redis_channel
from celeryfleet.worker.settling import settle


class Loader(AppLoader):  # type: ignore[misc]
    """Celery's own loader, and the settings of the fleet and the pool that the environment names."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        try:
            self.given = read(os.environ)
        except FleetError as error:
            if os.environ.get(POOL_VARIABLE):
                sys.exit(f"error: {error}")
            raise
        if self.given.pool:  # else it only sends tasks
            use_redis_channel()
        # Before, to read a setting would have the app configured again, and its own would be laid over ours.
        app.on_after_configure.connect(self._give, weak=False)

    def _give(self, **_: Any) -> None:
        apply(self.app, self.given.settings)

    def import_default_modules(self) -> Any:
        """Lay the settings over what the app's modules have set since."""
        found = super().import_default_modules()
        self._give()
        return found

    def on_worker_init(self) -> None:
        """Settle what this worker is, before it reads its settings."""
        super().on_worker_init()
        conf = dict(self.given.conf)
        if os.environ.get("CELERYFLEET_CONCURRENCY") == "auto":
            conf["worker_concurrency"] = machine.processors()
        options, order = conf.get("broker_transport_options"), os.environ.get("CELERYFLEET_ORDER")
        if options and order:
            conf["broker_transport_options"] = {**options, "queue_order_strategy": STRATEGIES[order]}
        settle(self.app, self.given.defaults, conf)
        if os.environ.get("CELERYFLEET_LOG_FORMAT") == "json":
            os.environ.setdefault("CELERYFLEET_WORKER", self.given.pool)
            jsonlog.log_as_json((sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__))
        signs = alive.Signs(os.environ)
        if signs.wanted:
            alive.install(self.app, signs)

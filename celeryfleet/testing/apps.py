"""The user's Celery apps in the process of the tests: given a fleet's settings, and given their own back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from celeryfleet.app import SETTINGS_VARIABLE, apply, forget_connections

#: variables that go before settings: of a developer's shell, they would lead to a broker that is no test's
_OVERRIDING = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND")


class Apps:
    """Some apps, and what they were before a fleet's settings came."""

    def __init__(self, apps: Sequence[Any], settings: Mapping[str, Any], file: Path) -> None:
        """Keep the settings also in a file, for apps that a factory of the user's makes meanwhile."""
        self._apps = apps
        # Tests without a fleet may want it; with one it would keep tasks from the fleet.
        self._settings = {**settings, "task_always_eager": False}
        self._file = file
        file.write_text(json.dumps(self._settings), "utf-8")
        self.first = apps[0]
        self._before: list[dict[str, Any]] = []
        self._patch = pytest.MonkeyPatch()

    def install(self) -> None:
        """Give them the fleet's settings, whatever they were configured with, until they are released."""
        self._before = [dict(app.conf.finalize().changes) for app in self._apps]
        for name in _OVERRIDING:
            self._patch.delenv(name, raising=False)
        self._patch.setenv(SETTINGS_VARIABLE, str(self._file))
        for app in self._apps:
            for name in ("amqp_cls", "backend_cls"):
                self._patch.setattr(app, name, getattr(app, name))
            apply(app, self._settings)

    def release(self) -> None:
        """Give them back what they had, and hang up."""
        from kombu import pools

        for app in self._apps:
            consumer: Any = getattr(app.backend, "result_consumer", None)
            if hasattr(consumer, "subscribed_to"):
                # Else each result that is dropped later seeks a broker that is gone, for 20 seconds (seen in 5.7).
                consumer.subscribed_to.clear()
                consumer.stop()
            connection = app.connection_for_write()
            for group in (pools.producers, pools.connections):
                group[connection].force_close_all()
                del group[connection]
        self._patch.undo()
        for app, before in zip(self._apps, self._before, strict=True):
            app.conf.changes.clear()
            app.conf.changes.update(before)
            forget_connections(app)

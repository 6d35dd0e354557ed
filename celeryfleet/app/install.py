"""Installs the fleet's settings in an app, before or after it was used."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakSet

from celeryfleet.app.objects import celery_objects
from celeryfleet.errors import FleetError
from celeryfleet.routing.table import transport_of

if TYPE_CHECKING:
    from celery import Celery

#: names a JSON file of settings; set inside the fleet's own processes
SETTINGS_VARIABLE = "CELERYFLEET_SETTINGS"
#: names the fleet.yaml that `install` reads
FILE_VARIABLE = "CELERYFLEET_FILE"
#: the loader of the processes of a fleet that another engine runs
LOADER = "celeryfleet.worker.loader:Loader"
#: the header that says when a message was published, in unix seconds
SENT_AT = "fleet_sent_at"

#: settings that add to the app's own instead of replacing them: an app's `visibility_timeout` must survive
_MERGED = ("broker_transport_options", "result_backend_transport_options")
#: variables that Celery reads before its settings, and what they stand for (seen in celery/app/utils.py)
_OVERRIDING = {
    "CELERY_BROKER_URL": "broker_url",
    "CELERY_BROKER_READ_URL": "broker_url",
    "CELERY_BROKER_WRITE_URL": "broker_url",
    "CELERY_RESULT_BACKEND": "result_backend",
}
#: result backends of others that the fleet adds to, and by what
BACKENDS = {"django-db": "celeryfleet.app.django.results:DatabaseBackend"}
#: what builds and sends an app's messages
_CELERYS_AMQP = "celery.app.amqp:AMQP"
#: true while `load` imports an app: whoever loads it applies the settings, so `install` has nothing to do
loading: ContextVar[bool] = ContextVar("loading", default=False)
#: the apps that were given to `install`, even if it found no fleet
_installed: WeakSet[Any] = WeakSet()


def install(app: Celery, file: str | os.PathLike[str] | None = None) -> None:
    """Give an app the queues and routes of its fleet; call it right after the app's own configuration.

    The fleet is `file`, else $CELERYFLEET_FILE, else the nearest fleet.yaml from the current folder upwards.
    """
    _installed.add(app)
    if loading.get():
        return
    ready_made = os.environ.get(SETTINGS_VARIABLE)
    if ready_made and os.environ.get("CELERY_LOADER") == LOADER:
        return  # which applies what `celeryfleet export` wrote
    if ready_made and file is None:
        apply(app, json.loads(Path(ready_made).read_text("utf-8")))
    else:
        apply(app, _declared(file or os.environ.get(FILE_VARIABLE)))


def installs(app: Celery) -> bool:
    """Tell whether somebody's code, such as the app's own module, has given this app to `install`."""
    return app in _installed


def _declared(file: str | os.PathLike[str] | None) -> dict[str, Any]:
    from celeryfleet import machine
    from celeryfleet.fleetfile.load import find, read
    from celeryfleet.plan.build import build

    try:
        path = Path(file) if file else find(Path.cwd())
    except FleetError as error:
        what = error.problems[0].what
        raise FleetError(what, hint=f"Name it in {FILE_VARIABLE}, or as celeryfleet.install(app, file).") from None
    fleet = read(path, os.environ)
    return build(fleet, machine.facts(fleet)).settings


def apply(app: Celery, settings: Mapping[str, Any]) -> None:
    """Give an app settings in the JSON form of a Plan, before or after it was used."""
    values = celery_objects(settings)
    merged = {key: values.pop(key) for key in _MERGED if key in values}
    if transport_of(settings.get("broker_url", "")) != "other":  # how it is reached is for who names it to say
        values.setdefault("broker_use_ssl", False)
        if settings.get("result_backend") == settings["broker_url"]:
            values.setdefault("redis_backend_use_ssl", None)
    app.conf.update(values)
    if values.get("result_backend") in BACKENDS:
        app.backend_cls = BACKENDS[values["result_backend"]]
    if app.configured:
        _merge(app.conf, merged, settings)
    else:

        def on_configured(source: Any, **_: Any) -> None:
            _merge(source, merged, settings)

        app.on_after_configure.connect(on_configured, weak=False)
    _override_environment(settings)
    if app.amqp_cls == _CELERYS_AMQP:  # an app with a class of its own keeps it
        app.amqp_cls = "celeryfleet.app.publisher:Publisher"
    forget_connections(app)
    _stamp_messages()


def _merge(conf: Any, options: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    """Lay over the app's settings what depends on them."""
    conf.update({key: {**(conf.get(key) or {}), **value} for key, value in options.items()})
    url = str(settings.get("broker_url"))
    if url.startswith("redis+socket:"):
        # RedBeat takes the broker where the app names no Redis for it, but can't read kombu's name of a socket.
        conf.setdefault("redbeat_redis_url", f"unix://{urlsplit(url).path}?db=0")


def _override_environment(settings: Mapping[str, Any]) -> None:
    """Have variables that would beat the fleet's URLs say the same as the fleet."""
    for variable, key in _OVERRIDING.items():
        if os.environ.get(variable) and settings.get(key):
            os.environ[variable] = settings[key]


def forget_connections(app: Any) -> None:
    """Drop what Celery caches from its settings: `amqp.queues` is stale after an update, and so is the rest."""
    app.__dict__.pop("amqp", None)
    app._pool = None
    app._backend_cache = None
    app._local.__dict__.pop("backend", None)


def _stamp_messages() -> None:
    from celery.signals import before_task_publish

    before_task_publish.connect(_stamp, weak=False, dispatch_uid="celeryfleet.sent_at")


def _stamp(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers[SENT_AT] = time.time()

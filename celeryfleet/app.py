"""Finds the user's Celery app and installs the fleet's settings in it; knows nothing of supervision."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from celeryfleet.errors import FleetError

if TYPE_CHECKING:
    from celery import Celery

#: names a JSON file of settings; set inside the fleet's own processes
SETTINGS_VARIABLE = "CELERYFLEET_SETTINGS"
#: names the fleet.yaml that `install` reads
FILE_VARIABLE = "CELERYFLEET_FILE"
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
#: true while `load` imports an app: whoever loads it applies the settings, so `install` has nothing to do
_loading: ContextVar[bool] = ContextVar("loading", default=False)
#: the apps that were given to `install`, be it in vain
_installed: WeakSet[Any] = WeakSet()

# --- Finding the app --------------------------------------------------------------------------------------


def load(name: str, django: str = "", folder: str = "") -> Celery:
    """Import the app as `celery -A name` does, with `folder` first on the path. Raises FleetError.

    An `install(app)` in the app's module does nothing meanwhile: the caller applies the settings it has.
    """
    from celery import Celery

    if folder and sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    if django:
        os.environ["DJANGO_SETTINGS_MODULE"] = django
    token = _loading.set(True)
    try:
        found = _find(name)
    finally:
        _loading.reset(token)
    if not isinstance(found, Celery):
        raise FleetError(f'"{name}" is no Celery app, but {type(found).__name__}.', hint=_WHAT_APP_IS)
    return found


def _find(name: str) -> Any:
    from celery.app.utils import find_app

    if "/" in name or name.endswith(".py"):
        module = name.removesuffix(".py").replace("/", ".").strip(".")
        raise FleetError(f'the app "{name}" is a file.', hint=f"Name the module: `app: {module}`.")
    try:
        return find_app(name, imp=importlib.import_module)
    except AttributeError as error:
        _expose_broken_submodule(name)
        if not _is_about_search(error):
            raise _import_failed(name, error) from error
        raise FleetError(f'no Celery app is found in "{name}": {error}.', hint=_SEARCHED) from error
    except ModuleNotFoundError as error:
        module, _, attribute = name.partition(":")
        if attribute and error.name == name:  # Celery tries the whole name as a module in the end
            raise FleetError(f'the module "{module}" has no "{attribute}".', hint=_WHAT_APP_IS) from error
        if _is_prefix(error.name or "", module):
            raise FleetError(f'the app "{name}" is not found: {error}.', hint=_WHERE) from error
        raise _import_failed(name, error) from error
    except FleetError:
        raise
    except (Exception, SystemExit) as error:
        raise _import_failed(name, error) from error


_WHAT_APP_IS = "`app:` names a module, or module:attribute, as in `celery -A`."
_WHERE = "The folder of fleet.yaml is searched first, then Python's path."
_SEARCHED = "Looked for its attributes app and celery, then for any Celery app in it, then in its submodule celery."


def _is_prefix(missing: str, module: str) -> bool:
    return bool(missing) and (module == missing or f"{module}.celery".startswith(f"{missing}."))


def _is_about_search(error: AttributeError) -> bool:
    """Tell Celery's failing to find an app from an AttributeError of the user's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    return not _of_the_user(frames)


def _expose_broken_submodule(name: str) -> None:
    """Raise what `<name>.celery` fails with, which Celery's search swallows (celery/app/utils.py find_app)."""
    if ":" in name or name not in sys.modules or not hasattr(sys.modules[name], "__path__"):
        return
    try:
        importlib.import_module(f"{name}.celery")
    except ModuleNotFoundError as error:
        if error.name != f"{name}.celery":
            raise _import_failed(f"{name}.celery", error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(f"{name}.celery", error) from error


def _import_failed(name: str, error: BaseException) -> FleetError:
    reason = f"{type(error).__name__}: {error}".removesuffix(": ")
    frames = _of_the_user(traceback.extract_tb(error.__traceback__))
    lines = "".join(traceback.format_list(frames[-5:])).rstrip()
    if isinstance(error, SyntaxError):
        lines = "".join(traceback.format_exception_only(error)[:-1]).rstrip()
    hint = f"It fails here:\n{lines}" if lines else ""
    return FleetError(f'the app "{name}" fails to import: {reason}.', hint=hint)


def _of_the_user(frames: Sequence[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """Drop the frames of the search and of the import machinery at the head of a traceback."""
    machinery = re.compile(r"<frozen importlib|[/\\]importlib[/\\]__init__|[/\\](celery|kombu)[/\\].*imports\.py$")
    return [
        frame
        for frame in frames
        if frame.filename != __file__
        and not machinery.search(frame.filename)
        and frame.name not in ("find_app", "symbol_by_name")
    ]


# --- Installing settings ----------------------------------------------------------------------------------


def install(app: Celery, file: str | os.PathLike[str] | None = None) -> None:
    """Give an app the queues and routes of its fleet; call it right after the app's own configuration.

    The fleet is `file`, else $CELERYFLEET_FILE, else the nearest fleet.yaml from the current folder upwards.
    """
    _installed.add(app)
    if _loading.get():
        return
    ready_made = os.environ.get(SETTINGS_VARIABLE)
    if ready_made and file is None:
        apply(app, json.loads(Path(ready_made).read_text("utf-8")))
    else:
        apply(app, _declared(file or os.environ.get(FILE_VARIABLE)))


def installs(app: Celery) -> bool:
    """Tell whether somebody's code, such as the app's own module, has given this app to `install`."""
    return app in _installed


def _declared(file: str | os.PathLike[str] | None) -> dict[str, Any]:
    from celeryfleet import machine
    from celeryfleet.plan.build import build
    from celeryfleet.spec import load as spec

    try:
        path = Path(file) if file else spec.find(Path.cwd())
    except FleetError as error:
        what = error.problems[0].what
        raise FleetError(what, hint=f"Name it in {FILE_VARIABLE}, or as celeryfleet.install(app, file).") from None
    fleet = spec.read(path, os.environ)
    return build(fleet, machine.facts(fleet)).settings


def apply(app: Celery, settings: Mapping[str, Any]) -> None:
    """Give an app settings in the JSON form of a Plan, before or after it was used."""
    values = celery_objects(settings)
    merged = {key: values.pop(key) for key in _MERGED if key in values}
    app.conf.update(values)
    if app.configured:
        _merge(app.conf, merged)
    else:

        def on_configured(source: Any, **_: Any) -> None:
            _merge(source, merged)

        app.on_after_configure.connect(on_configured, weak=False)
    _override_environment(settings)
    _forget_connections(app)
    _stamp_messages()


def _merge(conf: Any, options: Mapping[str, Mapping[str, Any]]) -> None:
    conf.update({key: {**(conf.get(key) or {}), **value} for key, value in options.items()})


def _override_environment(settings: Mapping[str, Any]) -> None:
    """Have variables that would beat the fleet's URLs say the same as the fleet."""
    for variable, key in _OVERRIDING.items():
        if os.environ.get(variable) and settings.get(key):
            os.environ[variable] = settings[key]


def _forget_connections(app: Any) -> None:
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


# --- From JSON to Celery's objects ------------------------------------------------------------------------


def celery_objects(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with Celery's own objects where JSON has none: queues, patterns, routers, crontabs."""
    values = dict(settings)
    if "task_queues" in values:
        values["task_queues"] = tuple(_queue(queue) for queue in values["task_queues"])
    if "task_routes" in values:
        queues = values.get("task_queues", ())
        values["task_routes"] = tuple(_route(item, queues) for item in values["task_routes"])
    if "beat_schedule" in values:
        values["beat_schedule"] = {name: _beat_entry(entry) for name, entry in values["beat_schedule"].items()}
    return values


def _queue(queue: Mapping[str, Any]) -> Any:
    from kombu.entity import Exchange, Queue

    return Queue(
        queue["name"],
        Exchange(queue["exchange"], type=queue["exchange_type"]),
        routing_key=queue["routing_key"],
        queue_arguments=dict(queue["arguments"]) or None,
    )


def _route(item: Mapping[str, Any], queues: Sequence[Any]) -> Any:
    """Return one `task_routes` entry: a mapping of its own, so that the written order holds."""
    if "router" in item:
        from celery.utils.functional import mlazy

        return mlazy(router, item["router"])
    options = dict(item["options"])
    if "exchange" in options:
        # Celery declares queues, not exchanges: on Redis a send to an undeclared exchange is lost.
        options["declare"] = [queue for queue in queues if queue.exchange.name == options["exchange"]]
    if "regex" in item:
        from celeryfleet.plan.routing import whole

        return {re.compile(whole(item["regex"])): options}
    return {item.get("exact") or item["glob"]: options}


def _beat_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    from celery.schedules import crontab

    schedule = entry["schedule"]
    if isinstance(schedule, Mapping):
        schedule = crontab.from_string(" ".join(schedule["crontab"].split()))
    return {**entry, "schedule": schedule}


def router(path: str) -> Any:
    """Import a router of the user's, `module.attr`, be it a class, an object or a function. Raises FleetError."""
    from kombu.utils.imports import symbol_by_name

    try:
        found = symbol_by_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise FleetError(
            f'the router "{path}" cannot be imported: {error}.', hint="`router:` names module.attribute."
        ) from error
    return found() if isinstance(found, type) else found


def ask_router(path: str) -> Callable[[str, Sequence[Any], Mapping[str, Any]], Any]:
    """Return a function (task, args, kwargs) that asks a router of the user's as Celery does."""

    def ask(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        found = router(path)
        if hasattr(found, "route_for_task"):
            return found.route_for_task(task, args, kwargs)
        return found(task, args, kwargs, {}, task=None)

    return ask

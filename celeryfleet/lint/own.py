"""Rules about the app's own settings: which of them fleet.yaml replaces, and what then goes elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from celeryfleet.fleetfile.settings import POOL_KEYS
from celeryfleet.fleetfile.writing import flow
from celeryfleet.lint.values import Case, Found, Level, rule
from celeryfleet.plan.secrets import masked, shown
from celeryfleet.plan.settings import MERGED
from celeryfleet.routing.foreign import routes_of
from celeryfleet.routing.table import transport_of
from celeryfleet.text import listed, quoted

#: lines of an app's routes that are told at once
_MOST = 40
_PORTS = {"redis": "6379", "rediss": "6379", "amqp": "5672", "amqps": "5671"}


@rule("CF058", "settings-overruled", "A setting of the app that fleet.yaml says otherwise", Level.INFO, "app")
def overruled(case: Case) -> Iterator[Found]:
    """Find settings that the app has, and a pool or `celery:` has too, with another value."""
    hint = "Remove one of them: what stands here goes first."
    said = [(app.name, key, own) for app in case.plan.apps for key, own in case.says(app.name).items()]
    for app, key, own in said:
        if key in MERGED:
            continue
        if case.fleet.wrote("celery", key) and case.plan.settings[key] != own:
            here, theirs = _told(key, case.plan.settings[key]), _told(key, own)
            what = f"{key}: {theirs} of the app is replaced by {here}."
            yield Found(case.fleet.where("celery", key), what, hint)
        pools: dict[str, list[str]] = {}
        for pool in case.plan.pools:
            if pool.app == app and key in pool.conf and pool.conf[key] != own:
                pools.setdefault(_told(key, pool.conf[key]), []).append(pool.name)
        for here, names in pools.items():
            paths = (("pools", names[0], POOL_KEYS.get(key, key)), ("pools", names[0], "celery", key), ("events",))
            who = f"the pool{'s' * (len(names) > 1)} {quoted(names)}"
            what = f"{key}: {_told(key, own)} of the app is replaced by {here} in {who}."
            yield Found(case.where(*paths), what, hint)


def _told(key: str, value: Any) -> str:
    return str(shown(value, key))


# --- What is not where it is looked for -------------------------------------------------------------------


@rule("CF059", "routes-gone", "Routes of the app that hold no more", Level.WARNING, "app")
def routes_gone(case: Case) -> Iterator[Found]:
    """Find an app's `task_routes` where fleet.yaml has no routes: all its tasks go to the default queue."""
    if "task_routes" not in apart(case):
        return
    routes, lost = routes_of(case.own_settings["task_routes"], case.plan.broker.transport, case.fleet.default_queue)
    declared = {queue.exchange for queue in case.plan.queues}
    missing = dict.fromkeys(str(one["queue"]) for one in routes if one.get("queue", "") not in ("", *case.fleet.queues))
    to = (str(one["exchange"]) for one in routes if one.get("exchange", "") not in ("", *declared))
    missing |= dict.fromkeys(f"a queue of the exchange {exchange}" for exchange in to)
    hint = ["Add them:", "routes:", *(f"  - {flow(route)}" for route in routes[:_MOST])]
    hint += [f"  # and {len(routes) - _MOST} more"] if len(routes) > _MOST else []
    hint += [f"and declare under `queues:` {listed(missing)}, for a pool to read."] if missing else []
    yield Found(
        case.where(("routes",), ("app",)),
        "the task_routes of the app do not hold in a fleet, and this file has no `routes:`: every task goes to "
        f'"{case.fleet.default_queue}".',
        "\n".join([*hint, *(f"{one}." for one in lost)]),
    )


@rule("CF063", "split-broker", "A fleet on one broker, and its app's producers on another", Level.WARNING, "app")
def split_broker(case: Case) -> Iterator[Found]:
    """Find an app that names another broker than the fleet's, and does not call `celeryfleet.install`."""
    if is_split(case):
        own, broker = _url(case, "broker_url"), case.plan.broker
        ours = "the fleet runs one of its own" if broker.argv else f"the fleet's {broker.shown}"
        yield Found(
            case.where(("broker",), ("app",)),
            f"the app's own broker is {masked(own)}, {ours}, and the app does not call "
            "celeryfleet.install: a process that is not the fleet's, such as a web server, sends its tasks where no "
            "worker of the fleet reads.",
            f"Write `broker: {_writable(own, 'CELERY_BROKER_URL')}` here, or after the app's own configuration: import "
            f"celeryfleet; celeryfleet.install({case.plan.apps[0].path.partition(':')[2] or 'app'})",
        )


@rule("CF064", "results-elsewhere", "Results that are kept elsewhere than the app says", Level.WARNING, "app")
def results_elsewhere(case: Case) -> Iterator[Found]:
    """Find a result backend of the app that the fleet replaces, though fleet.yaml says nothing of results."""
    if "result_backend" in apart(case):
        own = _url(case, "result_backend")
        ours = masked(case.plan.broker.results) or "nowhere"
        yield Found(
            case.where(("results",), ("app",)),
            f"the app keeps its results in {masked(own)}, and the fleet {ours}, since this file does not say where: "
            "who looks for them by the app alone finds none.",
            f"Add `results: {_writable(own, 'CELERY_RESULT_BACKEND')}`",
        )


def is_split(case: Case) -> bool:
    """Tell whether producers by the app alone send to another broker than the fleet's workers read."""
    own = _url(case, "broker_url")
    return bool(own and case.app and not case.app.installs and _places(own).isdisjoint(_places(case.plan.broker.url)))


def apart(case: Case) -> set[str]:
    """Name the settings of the app that are replaced without a word of fleet.yaml, and have findings of their own."""
    own, fleet, found = case.own_settings, case.fleet, set()
    if own.get("task_routes") and not fleet.wrote("routes"):
        found.add("task_routes")
    if own.get("result_backend") and not fleet.wrote("results") and "result_backend" not in fleet.celery:
        kept = {case.plan.broker.results} & {_url(case, "result_backend")}
        if not kept and _places(_url(case, "result_backend")).isdisjoint(_places(case.plan.broker.results)):
            found.add("result_backend")
    return found | ({"broker_url"} if is_split(case) else set())


def _url(case: Case, key: str) -> str:
    own = case.own_settings.get(key) or ""
    return ";".join(map(str, own)) if isinstance(own, list | tuple) else str(own)


def _writable(url: str, variable: str) -> str:
    return url if masked(url) == url else f"${{{variable}}}"


def _places(urls: str) -> set[tuple[str, ...]]:
    """Return where URLs lead, however they are written: broker, host, port, and database or virtual host."""
    found: set[tuple[str, ...]] = set()
    for url in filter(None, urls.split(";")):
        transport, known = transport_of(url), re.match(r"(?:py)?(\w+)://(?:[^/@]*@)?([^/:?]*)(?::(\d+))?/*([^?]*)", url)
        if known is None or known[1] not in _PORTS:
            found.add((url,))
            continue
        empty = "0" if transport == "redis" else ""
        host = known[2].replace("localhost", "127.0.0.1")
        found.add((transport, host, known[3] or _PORTS[known[1]], known[4].strip("/") or empty))
    return found


# --- What is not a setting, and what only some have -------------------------------------------------------


@rule("CF065", "app-setting-unknown", "A setting of the app that Celery does not have", Level.WARNING, "app")
def unknown_setting(case: Case) -> Iterator[Found]:
    """Find names in the app's settings that are almost those of Celery's."""
    for name, guess in case.app.unknown.items() if case.app is not None else ():
        yield Found(
            case.where(("app",)),
            f"{name} in the app's settings is no setting of Celery's: it does nothing.",
            f"Did you mean {guess}?",
        )


@rule("CF066", "events-of-some", "Events of some pools, which monitors take for the whole", Level.INFO)
def events_of_some(case: Case) -> Iterator[Found]:
    """Find fleets of which only some pools tell what becomes of their tasks."""
    tell = [pool.name for pool in case.plan.pools if case.setting(pool, "worker_send_task_events")]
    silent = [pool.name for pool in case.plan.pools if pool.name not in tell]
    if tell and silent:
        yield Found(
            case.where(("pools", tell[0], "events"), ("events",), ("pools",)),
            f"the pool{'s' * (len(tell) > 1)} {quoted(tell)} {'send' if len(tell) > 1 else 'sends'} events, and "
            f"{quoted(silent)} {'do' if len(silent) > 1 else 'does'} not: monitors such as Flower show a part as all.",
            "`events: true` at the top is for all pools.",
        )


RULES = (overruled, routes_gone, split_broker, results_elsewhere, unknown_setting, events_of_some)

"""Asks an app what it says by itself, in a process of its own: to import it is to run anybody's code.

    python -m celeryfleet.app.told APP FOLDER [DJANGO]

The answer is one line, a `Told`, and what the app prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from celeryfleet.app.find import load
from celeryfleet.app.own import own_settings
from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.told import Told
from celeryfleet.plan.secrets import MASK, masked, masked_origin
from celeryfleet.records import encode
from celeryfleet.routing.foreign import routes_of
from celeryfleet.routing.queue import Queue
from celeryfleet.routing.table import transport_of

#: settings that a fleet has values of its own for, and no key
_REPLACED = ("accept_content", "task_serializer", "result_serializer", "broker_use_ssl", "redis_backend_use_ssl")


def main() -> None:
    """Answer on what was stdout; exit with the reason where the app cannot be imported."""
    out = os.dup(1)
    os.dup2(2, 1)
    name, folder, *django = sys.argv[1:]
    try:
        told = asked(load(name, django[0] if django else "", folder), os.environ)
    except FleetError as error:
        sys.exit(str(error))
    os.write(out, encode(told))


def asked(app: Any, environ: Mapping[str, str]) -> Told:
    """Read an app's settings before anything of a fleet is applied."""
    app.finalize()  # at which periodic tasks may be added
    own, lost = own_settings(app), []
    broker, results = app.conf.broker_url or "", app.conf.result_backend
    broker = ";".join(broker) if isinstance(broker, list | tuple) else broker
    urls = {"broker": broker, "results": results if results and not results.startswith("disabled") else ""}
    for key, url in urls.items():
        urls[key] = writable(str(url), environ)
        if url and not urls[key]:
            lost.append(f"{key}: it holds a credential, which is not copied. Put it into a variable: `{key}: ${{VAR}}`")
    routes, left = routes_of(own.get("task_routes"), transport_of(broker or "amqp://"), app.conf.task_default_queue)
    kept = {key: own[key] for key in _REPLACED if own.get(key) and own[key] not in ("json", ["json"])}
    celery = {key: sorted(value) if isinstance(value, set | tuple) else value for key, value in kept.items()}
    lost += [f"{key}: write it under `celery:`" for key, value in celery.items() if not _is_json(value)]
    return Told(
        broker=urls["broker"],
        names_broker=bool(broker),
        results=urls["results"],
        default_queue=app.conf.task_default_queue,
        queues={name: _queue(Queue.of(queue)) for name, queue in app.amqp.queues.items()},
        routes=tuple(routes),
        beat=tuple(map(str, own.get("beat_schedule", ()))),
        pool=str(own.get("worker_pool", "")),
        concurrency=int(own.get("worker_concurrency", 0)),
        celery={key: value for key, value in celery.items() if _is_json(value)},
        lost=(*lost, *left),
    )


def writable(url: str, environ: Mapping[str, str]) -> str:
    """Return an URL as it may be written, `${VAR}` for what a variable holds; empty if a credential would be left."""
    if not url:
        return ""
    holders = sorted((name for name, value in environ.items() if value == url), key=lambda name: "BROKER" not in name)
    if holders:
        return f"${{{holders[0]}:-{url}}}" if masked(url) == url else f"${{{holders[0]}}}"
    if masked(url) != url:
        secret = urlsplit(url).password or ""
        name = next((name for name, value in environ.items() if value and value in (secret, unquote(secret))), "")
        url = url.replace(f":{secret}@", f":${{{name}}}@") if name and secret else url
    return url if MASK not in masked_origin(url) else ""


def _queue(queue: Queue) -> dict[str, object]:
    """Describe a queue by the keys that fleet.yaml needs for it."""
    said: dict[str, object] = {}
    if queue.exchange_type != "direct":
        said["exchange"] = {"name": queue.exchange, "type": queue.exchange_type}
        said["routing_key"] = queue.routing_key
    arguments = {key: value for key, value in queue.arguments.items() if key not in _ARGUMENTS}
    said |= {_ARGUMENTS[key]: value for key, value in queue.arguments.items() if key in _ARGUMENTS}
    return {
        **said,
        **({"arguments": arguments} if arguments else {}),
        **({"headers": queue.headers} if queue.headers else {}),
    }


#: arguments that fleet.yaml has keys for
_ARGUMENTS = {"x-max-priority": "max_priority", "x-max-length": "max_length", "x-queue-type": "type"}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


if __name__ == "__main__":
    main()

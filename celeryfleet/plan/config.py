"""A plan's Celery settings as a file: a Python module for `config_from_object`, YAML or JSON; no credentials."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from celeryfleet.fleetfile.variables import Variable, segments
from celeryfleet.plan.secrets import MASK, is_secret, masked, masked_origin, secret_variables, shown
from celeryfleet.routing.routes import travelling, whole
from celeryfleet.text import listed
from celeryfleet.worker_protocol import FLAGS

if TYPE_CHECKING:
    from celeryfleet.plan.values import Plan

_INDENT = "    "

#: what asks a router of the user's as `celeryfleet.app.routers.UserRouter` does, for a module that needs Celery alone
_ROUTER = '''
class _Router:
    """Asks a router, and gives Celery an answer of its own: Celery writes the options of each call into it."""

    def __init__(self, path, priority=None):
        self.path, self.priority, self.router = path, priority, None

    def __call__(self, name, args, kwargs, options, task=None):
        if self.router is None:
            found = symbol_by_name(self.path)
            self.router = found() if isinstance(found, type) else found
        if hasattr(self.router, "route_for_task"):
            answer = self.router.route_for_task(name, args, kwargs)
        else:
            answer = self.router(name, args, kwargs, options, task=task)
        if answer is None:
            return None
        route = dict(answer) if isinstance(answer, dict) else {"queue": answer}
        if self.priority is not None and route.get("priority") is None:
            route["priority"] = self.priority
        return route

'''


def as_json(plan: Plan) -> str:
    """Write the settings as one JSON document, queues and routes in the plan's JSON form."""
    return json.dumps(_document(plan), indent=2) + "\n"


def as_yaml(plan: Plan) -> str:
    """Write the settings as YAML, queues and routes in the plan's JSON form."""
    import yaml

    return str(yaml.safe_dump(_document(plan), sort_keys=False, allow_unicode=True, width=110))


def _document(plan: Plan) -> dict[str, Any]:
    return {**shown(plan.settings, origins=plan.origins), **(shown(plan.beat.conf) if plan.beat else {})}


def as_python(plan: Plan) -> str:
    """Write a module for `app.config_from_object` that needs Celery alone.

    What came from a `${VAR}` is read from the environment again; a credential that is written in fleet.yaml is left
    out, and the module reads it from a variable named after the setting: CELERY_BROKER_URL, CELERY_REDIS_PASSWORD.
    """
    body = "\n".join(_statements(plan))
    return "\n".join([*_head(plan, body), "", body, "", *_workers(plan)]) + "\n"


def _head(plan: Plan, body: str) -> Iterator[str]:
    yield f'"""Celery settings of the fleet {plan.fleet}, written by `celeryfleet config --format python`."""'
    yield ""
    modules = [name for name in ("os", "re") if re.search(rf"\b{name}\.(environ|compile)\b", body)]
    yield from (f"import {name}" for name in modules)
    if modules:
        yield ""
    if "crontab(" in body:
        yield "from celery.schedules import crontab"
    yield "from kombu import Exchange, Queue"
    if "_Router(" in body:
        yield "from kombu.utils.imports import symbol_by_name"
        yield ""
        yield _ROUTER.rstrip()
        yield ""


def _statements(plan: Plan) -> Iterator[str]:
    for key, value in {**plan.settings, **(plan.beat.conf if plan.beat else {})}.items():
        match key:
            case "task_queues":
                yield from _tuple(key, [_queue(queue) for queue in value])
            case "task_routes":
                yield from _tuple(key, [_route(item) for item in value])
            case "beat_schedule":
                yield "beat_schedule = {"
                yield from (f"{_INDENT}{_string(name)}: {_beat_entry(entry)}," for name, entry in value.items())
                yield "}"
            case _:
                yield f"{key} = {_python(value, plan.origins, (key,))}"


def _tuple(name: str, items: Sequence[str]) -> Iterator[str]:
    if not items:
        yield f"{name} = ()"
        return
    yield f"{name} = ("
    yield from (f"{_INDENT}{item}," for item in items)
    yield ")"


def _workers(plan: Plan) -> Iterator[str]:
    open_ = [flag for flag, key in FLAGS.items() if any(key in pool.defaults for pool in plan.pools)]
    yield f"# The workers of the fleet{f'; what the app says of {listed(open_)} holds' if open_ else ''}:"
    for pool in plan.pools:
        for number in range(1, pool.replicas + 1):
            yield f"# {shlex.join(plan.worker(pool, number).argv)}"


def _queue(queue: Mapping[str, Any]) -> str:
    exchange = f"Exchange({_string(queue['exchange'])}, type={_string(queue['exchange_type'])})"
    arguments = f", queue_arguments={_plain(queue['arguments'])}" if queue["arguments"] else ""
    arguments += f", binding_arguments={_plain(queue['headers'])}" if queue.get("headers") else ""
    return f"Queue({_string(queue['name'])}, {exchange}, routing_key={_string(queue['routing_key'])}{arguments})"


def _route(item: Mapping[str, Any]) -> str:
    if "router" in item:
        priority = f", {item['priority']}" if "priority" in item else ""
        return f"_Router({_string(item['router'])}{priority})"
    pattern = f"re.compile({whole(item['regex'])!r})" if "regex" in item else _string(item.get("exact") or item["glob"])
    said, through = travelling(item)
    options = [] if through is None else [f'"queue": {_queue(asdict(through))}']
    options += [f"{_string(key)}: {_plain(value)}" for key, value in said.items()]
    if "exchange" in item["options"]:
        exchange = _string(item["options"]["exchange"])
        options.append(f'"declare": [queue for queue in task_queues if queue.exchange.name == {exchange}]')
    return f"{{{pattern}: {{{', '.join(options)}}}}}"


def _beat_entry(entry: Mapping[str, Any]) -> str:
    parts = []
    for key, value in entry.items():
        text = _plain(value)
        if key == "schedule" and isinstance(value, Mapping):
            minute, hour, day, month, weekday = (_string(field) for field in value["crontab"].split())
            text = f"crontab({minute}, {hour}, day_of_month={day}, month_of_year={month}, day_of_week={weekday})"
        parts.append(f"{_string(key)}: {text}")
    return f"{{{', '.join(parts)}}}"


# --- Values -----------------------------------------------------------------------------------------------


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _plain(value: Any) -> str:
    return _python(value, {}, ())


def _python(value: Any, origins: Mapping[str, str], path: tuple[str, ...]) -> str:
    """Write a value as a Python expression that holds no credential."""
    if isinstance(value, Mapping):
        items = (f"{_string(str(key))}: {_python(item, origins, (*path, str(key)))}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_python(item, origins, (*path, str(i))) for i, item in enumerate(value))}]"
    if not isinstance(value, str):
        return repr(value)
    secret = bool(path) and is_secret(path[-1])
    if "/".join(path) in origins:
        return _expression(origins["/".join(path)], secret, path)
    return _fallback(MASK if secret and value else masked(value), _string, path)


def _fallback(text: str, write: Any, path: tuple[str, ...]) -> str:
    """Read what had to be left out from a variable named after the setting."""
    if MASK not in text:
        return str(write(text))
    variable = "_".join(("celery", *path)).upper()
    return f"os.environ.get({_string(variable)}, {write(text)})"


def _expression(written: str, secret: bool, path: tuple[str, ...]) -> str:
    """Write a text with `${VAR}` in it as an expression that reads the environment."""
    bare = [part for part in segments(written) if part]
    if secret and any(isinstance(part, str) for part in bare):
        return _fallback(MASK, _string, path)
    if MASK in masked_origin(written):
        return _fallback(masked_origin(written), _interpolated, path)
    hidden = {part.name for part in bare if isinstance(part, Variable)} if secret else secret_variables(written)
    return _interpolated(written, hidden)


def _interpolated(written: str, hidden: Collection[str] = ()) -> str:
    """Join text and variables; the default of a hidden variable is left out."""
    parts = [_string(part) if isinstance(part, str) else _lookup(part, hidden) for part in segments(written) if part]
    return " + ".join(parts) or '""'


def _lookup(variable: Variable, hidden: Collection[str]) -> str:
    name, other = _string(variable.name), variable.other
    if variable.operator.endswith("-") and variable.name not in hidden and _harmless(other):
        default = _interpolated(other)
        return (
            f"(os.environ.get({name}) or {default})"
            if ":" in variable.operator
            else f"os.environ.get({name}, {default})"
        )
    return f"os.environ[{name}]"


def _harmless(written: str) -> bool:
    return MASK not in masked_origin(written) and not secret_variables(written)

"""A plan as deterministic text without credentials."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from celeryfleet.plan.secrets import shown
from celeryfleet.text import duration

if TYPE_CHECKING:
    from celeryfleet.plan.values import AutoscalePolicy, Plan, PoolPlan
    from celeryfleet.routing.queue import Queue

#: settings that have a part of the text to themselves
_ELSEWHERE = ("task_queues", "task_routes", "broker_url")


def plan_text(plan: Plan) -> str:
    """Write a plan for people."""
    return "\n".join(line.rstrip() for line in _lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    apps = [f"{f'app {app.name}'.strip()} {app.path}{app.django and f', django {app.django}'}" for app in plan.apps]
    yield f"fleet {plan.fleet}: {', '.join(apps)}, preload {plan.preload}"
    yield f"state {plan.state_dir}"
    yield f"broker {plan.broker.shown}"
    if plan.broker.argv:
        yield f"  runs {shlex.join(plan.broker.argv)}"
    yield ""
    yield "queues"
    width = max((len(queue.name) for queue in plan.queues), default=0)
    for queue in plan.queues:
        yield f"  {queue.name:<{width}}  {_queue(queue)}"
    yield ""
    yield "routes"
    for item in plan.settings["task_routes"]:
        yield f"  {_route(item)}"
    yield ""
    yield "settings"
    for key, value in shown(plan.settings, origins=plan.origins).items():
        if key not in _ELSEWHERE:
            yield f"  {key}: {_json(value)}"
    for pool in plan.pools:
        yield ""
        yield from _pool(plan, pool)
    if plan.beat:
        yield ""
        yield f"beat: {shlex.join(plan.beat.argv)}"
        for name, entry in plan.beat.schedule.items():
            yield f"  {name}: {_json(shown(entry))}"


def _queue(queue: Queue) -> str:
    parts = [f"{queue.exchange_type} exchange {queue.exchange}, key {queue.routing_key}"]
    if queue.headers:
        parts.append(f"headers {_json(queue.headers)}")
    if queue.arguments:
        parts.append(_json(queue.arguments))
    if queue.max_age is not None:
        parts.append(f"amber after {duration(queue.max_age)}")
    return ", ".join(parts)


def _route(item: Mapping[str, Any]) -> str:
    if "router" in item:
        lowest = f", wire priority {item['priority']} where it says none" if "priority" in item else ""
        return f"router {item['router']}{lowest}"
    kind = next(key for key in ("exact", "glob", "regex") if key in item)
    target = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in item["options"].items())
    return f"{kind} {item[kind]} -> {target.replace('priority', 'wire priority')}"


def _pool(plan: Plan, pool: PoolPlan) -> Iterator[str]:
    how = "forked from the preloaded app" if pool.fork else "started by exec"
    reason = f": {pool.exec_reason}" if pool.exec_reason else ""
    yield f"pool {pool.name}: {pool.replicas} x {pool.implementation}, concurrency {pool.concurrency}, {how}{reason}"
    yield f"  queues {', '.join(pool.queues)}"
    if pool.env:
        yield f"  env {', '.join(sorted(pool.env))}"
    if pool.autoscale:
        yield f"  autoscale {_autoscale(pool.autoscale)}"
    for key, value in shown(pool.conf).items():
        yield f"  {key}: {_json(_differing(value, plan.settings.get(key)))}"
    for key, value in pool.defaults.items():
        yield f"  {key}: {_json(value)}, unless the app says otherwise"
    for number in range(1, pool.replicas + 1):
        worker = plan.worker(pool, number)
        yield f"  {worker.name}: {shlex.join(worker.argv)}"


def _differing(own: Any, shared: Any) -> Any:
    """Leave out of a mapping what the whole fleet has."""
    if not isinstance(own, Mapping) or not isinstance(shared, Mapping):
        return own
    return {key: value for key, value in own.items() if shared.get(key) != value}


def _autoscale(policy: AutoscalePolicy) -> str:
    parts = [f"{policy.min} to {policy.max} replicas"]
    if policy.target_length is not None:
        parts.append(f"{policy.target_length} messages each")
    if policy.target_age is not None:
        parts.append(f"oldest under {duration(policy.target_age)}")
    return ", ".join([*parts, f"cooldown {duration(policy.cooldown)}"])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)

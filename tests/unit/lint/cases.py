"""Small fleets to lint, and what is found in them."""

from __future__ import annotations

from typing import Any

from celeryfleet.lint import Finding, Machine, Server, lint
from celeryfleet.plan.build import build
from celeryfleet.plan.facts import AppFacts
from tests.unit.plan.fleets import FACTS, fleet_of, fleet_text

GB = 10**9
#: an app without any trait of its own, whose producers know the fleet
PLAIN = AppFacts(tasks={"shop.a": {}}, installs=True)

EVENTS = {"default": {}, "video": {}, "events": {"exchange": {"name": "events", "type": "topic"}, "routing_key": "a.#"}}
ALL = {"web": {"queues": ["video", "default", "events"], "order": "round_robin"}}


def pool(**keys: Any) -> dict[str, Any]:
    """Write one pool that reads both queues, in turn, and these keys."""
    return {"web": {"queues": ["video", "default"], "order": "round_robin", **keys}}


def found(
    app: AppFacts | None = None, machine: Machine | None = None, server: Server | None = None, /, **keys: Any
) -> list[Finding]:
    """Lint a fleet with two queues, one pool that reads both in turn, and these keys besides."""
    fleet = fleet_of(fleet_text(**{"pools": pool(), **keys}))
    return lint(fleet, build(fleet, FACTS), app, machine, server)


def names(*facts: Any, **keys: Any) -> list[str]:
    """Return the names of what is found."""
    return [finding.name for finding in found(*facts, **keys)]


def said(*facts: Any, **keys: Any) -> list[str]:
    """Return what is found in words."""
    return [finding.what for finding in found(*facts, **keys)]


def tasks(runs: dict[str, dict[str, Any]] | None = None, **own: dict[str, Any]) -> AppFacts:
    """Make an app of tasks named `shop.…` with what their code says."""
    return AppFacts(
        tasks={f"shop.{name}": options for name, options in own.items()},
        installs=True,
        runs={f"shop.{name}": conduct for name, conduct in (runs or {}).items()},
    )

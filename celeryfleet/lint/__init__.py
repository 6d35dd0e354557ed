"""Finds in a valid fleet what will not do what its author thinks; every finding says what to do about it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from celeryfleet.errors import FleetError
from celeryfleet.lint.registry import RULES
from celeryfleet.lint.values import Case, Finding, Level, Machine, RouterReport, Rule, Server
from celeryfleet.plan.facts import AppFacts
from celeryfleet.routing.resolve import resolve

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet
    from celeryfleet.plan.values import Plan
    from celeryfleet.routing.resolve import Decision

__all__ = ["Case", "Finding", "Level", "Machine", "RouterReport", "Rule", "Server", "in_order", "lint"]


def lint(
    fleet: Fleet,
    plan: Plan,
    app: AppFacts | None = None,
    machine: Machine | None = None,
    server: Server | None = None,
    routers: RouterReport | None = None,
) -> list[Finding]:
    """Return what is to be said of a fleet, warnings first; a rule that needs what is not known says nothing."""
    plan = plan.settled((app or AppFacts()).says)
    case = Case(fleet, plan, app, machine, server, routers, _decisions(fleet, plan, app))
    return in_order([finding for rule in RULES for finding in rule.findings(case)])


def _decisions(fleet: Fleet, plan: Plan, app: AppFacts | None) -> dict[str, Decision]:
    """Decide where each registered task goes, without asking routers; one that cannot be sent goes nowhere."""
    found = {}
    for task, own in app.tasks.items() if app is not None else ():
        with suppress(FleetError):
            found[task] = resolve(fleet, plan.routing, task, own=own)
    return found


def in_order(findings: list[Finding]) -> list[Finding]:
    """Sort by level, then by place, then by code."""
    levels = list(Level)
    return sorted(findings, key=lambda f: (levels.index(f.level), f.file, f.line, f.column, f.code))


def judged(
    app: AppFacts | None, machine: Machine | None, server: Server | None, routers: RouterReport | None = None
) -> frozenset[str]:
    """Name the codes that could be found with what is known: of the others nobody can say that they do not hold."""
    facts = {"app": app, "machine": machine, "server": server, "routers": routers}
    known = {name for name, value in facts.items() if value is not None}
    return frozenset(rule.code for rule in RULES if rule.needs <= known)

"""The command that validates and lints fleet.yaml."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeryfleet.errors import Exit

if TYPE_CHECKING:
    from celeryfleet.plan.lint import Finding

PANEL = "Write and check fleet.yaml"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=PANEL)(check)


def check(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if there is a warning.")] = False,
) -> int:
    """Validate fleet.yaml and the app, and say what will not do what it seems to.

    Exit code 2 on an error, 1 on a warning with --strict.
    """
    from celeryfleet.client.inspect import registered
    from celeryfleet.plan.lint import Level, lint

    session = context.obj
    plan = session.plan
    tasks = registered(session.app())
    findings = lint(session.fleet, plan, tasks, os.cpu_count())
    warnings = [finding for finding in findings if finding.level is Level.WARNING]
    if as_json:
        print(
            json.dumps(
                {"schema_version": 1, "fleet": plan.fleet, "findings": [_finding(found) for found in findings]},
                indent=2,
            )
        )
    else:
        for found in findings:
            print(found)
        pools, queues = len(plan.pools), len(plan.queues)
        print(
            f"{plan.fleet}: {pools} pools, {queues} queues, {len(session.fleet.routes)} routes,"
            f" {len(tasks)} tasks; {len(warnings)} {'warning' if len(warnings) == 1 else 'warnings'}",
            file=sys.stderr,
        )
    return Exit.FAILURE if strict and warnings else Exit.OK


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "code": found.code,
        "level": str(found.level),
        "where": found.where,
        "what": found.what,
        "hint": found.hint,
    }

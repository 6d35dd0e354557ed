"""Commands about what is declared, not what runs: init, check, config, route."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeryfleet.errors import Exit, FleetError

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.plan.lint import Finding
    from celeryfleet.plan.routing import Decision

PANEL = "Write and check fleet.yaml"


class Template(StrEnum):
    """What `init` can write."""

    DEMO = "demo"
    PRIORITIES = "priorities"
    APP = "app"
    DJANGO = "django"


class Form(StrEnum):
    """How `config` prints the settings."""

    PYTHON = "python"
    YAML = "yaml"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=PANEL)(init)
    app.command(rich_help_panel=PANEL)(check)
    app.command(rich_help_panel=PANEL)(config)
    app.command(rich_help_panel=PANEL)(route)


def init(
    context: typer.Context,
    template: Annotated[Template, typer.Argument(help="What to start from.")] = Template.DEMO,
) -> int:
    """Write a commented fleet.yaml that runs as it is; an existing one is never overwritten.

    Examples: [bold]celeryfleet init[/] · [bold]celeryfleet init priorities[/] · [bold]celeryfleet init app[/]
    """
    from celeryfleet.cli.templates import write

    if template is Template.DJANGO:
        raise FleetError("not supported yet: init django.", hint="`init app`, and then `django: shop.settings`.")
    for file in write(template.value, context.obj.file or Path("fleet.yaml")):
        typer.echo(f"wrote {file}", err=True)
    typer.echo("Now: celeryfleet up -d --wait, then celeryfleet status", err=True)
    return Exit.OK


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
        _print_json({"schema_version": 1, "fleet": plan.fleet, "findings": [_finding(found) for found in findings]})
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


def config(
    context: typer.Context,
    form: Annotated[Form, typer.Option("--format", help="How to print it.")] = Form.PYTHON,
) -> int:
    """Print the Celery settings that fleet.yaml amounts to; the python form imports without celeryfleet.

    Example: [bold]celeryfleet config > celeryconfig.py[/]
    """
    from celeryfleet.plan import config as forms

    write = {Form.PYTHON: forms.as_python, Form.YAML: forms.as_yaml, Form.JSON: forms.as_json}[form]
    print(write(context.obj.plan).rstrip("\n"))
    return Exit.OK


def route(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task's name, short or full, or an alias.")],
    words: Annotated[list[str] | None, typer.Argument(metavar="ARG", help="Arguments, for routers.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Say where a task goes and why.

    Example: [bold]celeryfleet route add[/]
    """
    from celeryfleet.app import ask_router
    from celeryfleet.cli.tasks import full_name
    from celeryfleet.client.words import parse_words
    from celeryfleet.plan.routing import resolve

    session = context.obj
    name = full_name(session, task)
    args, kwargs = parse_words(words or [])
    routers = {item.router: ask_router(item.router) for item in session.fleet.routes if item.router}
    decision = resolve(session.fleet, session.plan, name, args, kwargs, routers=routers)
    if as_json:
        _print_json(decision.to_json())
    else:
        print("\n".join(_explain(session, decision)))
    return Exit.OK


def _explain(session: Session, decision: Decision) -> list[str]:
    """Write a decision for people."""
    place = session.path.name
    target = decision.queue or ", ".join(decision.queues) or "nowhere: no queue is bound to that key"
    lines = [f"{decision.task} → {target}"]
    if decision.rule:
        lines.append(f"  rule       {place}:{decision.rule.line}  {decision.rule.text}")
    else:
        lines.append("  rule       none matches: the default queue")
    lines += [f"  passed     {place}:{passed.line}  {passed.why}" for passed in decision.passed_over]
    lines.append(f"  exchange   {decision.exchange} ({decision.exchange_type}), key {decision.routing_key}")
    if decision.priority is not None:
        lines.append(f"  priority   {decision.priority} of 9 (on the wire: {decision.wire_priority})")
    lines.append(f"  pools      {', '.join(decision.pools) or 'none reads it'}")
    return lines


def _print_json(document: dict[str, Any]) -> None:
    import json

    print(json.dumps(document, indent=2))

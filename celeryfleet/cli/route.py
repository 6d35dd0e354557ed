"""The command that says where a task goes and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.errors import Exit

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.plan.routing import Decision

PANEL = "Write and check fleet.yaml"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=PANEL)(route)


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
    from celeryfleet.cli.meant import full_name
    from celeryfleet.client.words import parse_words
    from celeryfleet.plan.routing import resolve

    session = context.obj
    name = full_name(session, task)
    args, kwargs = parse_words(words or [])
    routers = {item.router: ask_router(item.router) for item in session.fleet.routes if item.router}
    decision = resolve(session.fleet, session.plan, name, args, kwargs, routers=routers)
    if as_json:
        print(json.dumps(decision.to_json(), indent=2))
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

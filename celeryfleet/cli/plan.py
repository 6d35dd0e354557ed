"""The command that says how many workers it takes."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Annotated

import typer

from celeryfleet.cli.output import show
from celeryfleet.cli.usage import AsJson, one_of
from celeryfleet.errors import Exit
from celeryfleet.text import say


class Form(StrEnum):
    """How the answer is written."""

    TEXT = "text"
    SVG = "svg"


def plan(
    context: typer.Context,
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="T", help="'mail p95 < 5s'; default: each queue's max_age.")
    ] = None,
    rate: Annotated[
        list[str] | None, typer.Option("--rate", metavar="QUEUE=N/s", help="Messages that come, not those measured.")
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option("--runtime", metavar="QUEUE=T", help="What a task takes in the mean, not what was measured."),
    ] = None,
    what_if: Annotated[
        list[str] | None, typer.Option("--what-if", metavar="POOL=N", help="Show the same with N replicas.")
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="T", help="What has ended since then is measured: 10m, 1h, 10:00.")
    ] = "1h",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the random numbers.")] = 1,
    form: Annotated[Form, typer.Option("--format", **one_of(Form, "format"))] = Form.TEXT,
    as_json: AsJson = False,
) -> int:
    """Say how many workers it takes: what messages wait for with these, and how few will do, by simulation.

    Rates and runtimes are those of the ledger. Messages are thought to come at random, one by one.

    Examples: [bold]celeryfleet plan[/] · [bold]celeryfleet plan --target 'mail p95 < 5s'[/] ·
    [bold]celeryfleet plan --rate mail=200/s --runtime mail=80ms --what-if mail=8[/]
    """
    from celeryfleet.cli.capacity import found
    from celeryfleet.render import capacity as draw

    report = found(context.obj, target or [], rate or [], runtime or [], what_if or [], since, seed)
    if form is Form.SVG and not as_json:
        say(draw.svg(report))
        return Exit.OK
    return show(as_json, draw.document(report), partial(draw.lines, report))

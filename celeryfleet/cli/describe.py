"""Commands that write fleet.yaml and what it amounts to: init, config."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from celeryfleet.cli.usage import one_of
from celeryfleet.errors import Exit
from celeryfleet.text import say


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
    TEXT = "text"


def init(
    context: typer.Context,
    template: Annotated[
        Template, typer.Argument(help="What to start from.", **one_of(Template, "template"))
    ] = Template.DEMO,
) -> int:
    """Write a commented fleet.yaml that runs as it is; an existing one is never overwritten.

    Examples: [bold]celeryfleet init[/] · [bold]celeryfleet init priorities[/] · [bold]celeryfleet init django[/]
    """
    from celeryfleet.cli import init_app, init_django
    from celeryfleet.cli.templates import start

    target = context.obj.file or Path("fleet.yaml")
    match template:
        case Template.DJANGO:
            done = init_django.start(target)
        case Template.APP:
            done = init_app.start(target)
        case _:
            done = start(template.value, target)
    for line in done:
        say(line, sys.stderr)
    return Exit.OK


def config(
    context: typer.Context,
    form: Annotated[Form, typer.Option("--format", help="How to print it.", **one_of(Form, "format"))] = Form.PYTHON,
) -> int:
    """Print the Celery settings that fleet.yaml amounts to; the python form imports without celeryfleet.

    The text form is for reading: all that should run, each worker as the command that it is.

    Examples: [bold]celeryfleet config > celeryconfig.py[/]
    """
    from celeryfleet.plan import config as forms
    from celeryfleet.render.plan import plan_text

    plan = context.obj.plan
    text = plan_text(plan) if form is Form.TEXT else getattr(forms, f"as_{form}")(plan)
    say(text.rstrip("\n"))
    return Exit.OK

"""The Typer app: what the commands are called, and the words that stand before them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from celeryfleet.cli import (
    active,
    check,
    completion,
    debug,
    describe,
    export,
    failed,
    fleet,
    graph,
    insight,
    logs,
    plan,
    queues,
    route,
    send,
    tasks,
    top,
    transfer,
    ui,
    why,
)
from celeryfleet.cli.session import Session
from celeryfleet.cli.usage import Group, WithNumbers, WithPage, explained, plain
from celeryfleet.errors import Exit
from celeryfleet.text import say

app = typer.Typer(
    name="celeryfleet",
    cls=Group,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start here: celeryfleet init demo · celeryfleet up · celeryfleet send add 4 4",
)

#: Click's UsageError: of click itself up to typer 0.25, of the copy in newer ones, where no public name leads to it
_UsageError: Any = typer.BadParameter.__base__


def _version(wanted: bool) -> None:
    if wanted:
        from celeryfleet import __version__

        say(f"celeryfleet {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            envvar="CELERYFLEET_FILE",
            help="The fleet.yaml; default: here or in a parent.",
        ),
    ] = None,
    env_file: Annotated[
        list[Path] | None,
        typer.Option("--env-file", metavar="FILE", help="A file of VAR=value for ${VAR} in fleet.yaml."),
    ] = None,
    profile: Annotated[
        list[str] | None, typer.Option("--profile", metavar="PROFILE", help="Include the pools of this profile.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run a whole fleet of queue-scoped Celery workers from one fleet.yaml."""
    context.obj = Session(file, tuple(env_file or ()), tuple(profile or ()))


#: the commands by the panel of the help that they stand in
_PANELS = {
    "Run the fleet": (fleet.up, fleet.down, fleet.scale, fleet.restart, fleet.reload, fleet.pause, fleet.resume),
    "Send tasks": (
        *(send.send, send.canvas, send.result, debug.run, tasks.tasks),
        *(failed.failed, failed.retry, failed.revoke),
    ),
    "Look at it": (
        *(active.active, insight.status, insight.ps, insight.health, logs.logs),
        *(why.why, top.top, plan.plan, ui.ui),
    ),
    "Write and check fleet.yaml": (
        *(describe.init, describe.config, check.check, route.route, graph.graph, export.export),
        *(transfer.import_, completion.completion),
    ),
}
#: those whose words Click takes for others
_CLASSES = {fleet.up: WithPage, send.send: WithNumbers, debug.run: WithNumbers, route.route: WithNumbers}

for panel, commands in _PANELS.items():
    for command in commands:
        cls = _CLASSES.get(command, TyperCommand)
        app.command(command.__name__.strip("_"), cls=cls, rich_help_panel=panel)(command)
app.add_typer(queues.group, name="queues", rich_help_panel="Send tasks")


def run(argv: list[str]) -> int:
    """Run one command; return its exit code. FleetErrors are left to the caller."""
    command = typer.main.get_command(app)
    if not argv or not {"-h", "--help"}.isdisjoint(argv):
        plain(command)
    try:
        code = command(argv or ["--help"], prog_name="celeryfleet", standalone_mode=False)
    except _UsageError as error:
        raise explained(error) from None
    except typer.Abort:
        return 130
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # `celeryfleet logs | head`, which Click calls a failure
            return int(Exit.OK)
        raise
    return int(code or Exit.OK)

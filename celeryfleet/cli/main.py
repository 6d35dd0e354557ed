"""The Typer app: what the commands are called, and the words that stand before them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from celeryfleet.cli import check, describe, failed, fleet, graph, insight, route, send, tasks, transfer
from celeryfleet.cli.session import Session
from celeryfleet.errors import Exit
from celeryfleet.text import say

app = typer.Typer(
    name="celeryfleet",
    no_args_is_help=True,
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
        typer.Option("-f", "--file", envvar="CELERYFLEET_FILE", help="The fleet.yaml; default: here or in a parent."),
    ] = None,
    env_file: Annotated[
        list[Path] | None, typer.Option("--env-file", help="A file of VAR=value for ${VAR} in fleet.yaml.")
    ] = None,
    profile: Annotated[list[str] | None, typer.Option("--profile", help="Include the pools of this profile.")] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run a whole fleet of queue-scoped Celery workers from one fleet.yaml."""
    context.obj = Session(file, tuple(env_file or ()), tuple(profile or ()))


for room in (fleet, send, tasks, failed, insight, describe, check, route, graph, transfer):
    room.register(app)


def run(argv: list[str]) -> int:
    """Run one command; return its exit code. FleetErrors are left to the caller."""
    try:
        code = app(argv, prog_name="celeryfleet", standalone_mode=False)
    except _UsageError as error:
        error.show()
        return int(Exit.USAGE)
    except typer.Abort:
        return 130
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # `celeryfleet logs | head`, which Click calls a failure
            return int(Exit.OK)
        raise
    return int(code or Exit.OK)

"""The command that prints what a shell needs to complete words."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from celeryfleet.cli.entry import COMPLETION_VARIABLE
from celeryfleet.cli.usage import one_of
from celeryfleet.errors import Exit
from celeryfleet.text import say


class Shell(StrEnum):
    """What completes words."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="Which one.", **one_of(Shell, "shell"))]) -> int:
    """Print the script that has a shell complete commands, tasks, queues, pools and canvases.

    It is put where the shell looks for it by `celeryfleet --install-completion`.

    Examples: [bold]source <(celeryfleet completion bash)[/] · [bold]celeryfleet completion fish | source[/]
    """
    from typer import completion as typers

    script = typers.get_completion_script  # type: ignore[attr-defined]  # in all versions, but not in __all__
    say(script(prog_name="celeryfleet", complete_var=COMPLETION_VARIABLE, shell=shell.value))
    return Exit.OK

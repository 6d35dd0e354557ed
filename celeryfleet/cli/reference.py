"""Makes docs/cli.md, the reference of the command line, of the commands themselves; grammar.py writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from celeryfleet.cli.usage import plain

FILE = Path(__file__).parents[2] / "docs" / "cli.md"
_HEAD = """# The command line

Made from the commands themselves, by `python -m celeryfleet.cli.grammar`; `celeryfleet COMMAND --help` shows the same.

Results go to stdout, narration to stderr. Exit codes: 0 success, 1 a task failed, 2 usage or fleet.yaml,
3 something wanted is not ready, 69 broker unreachable, 124 a wait timed out, 130 Ctrl-C.
"""


def reference() -> str:
    """Return the page: the options before the command, and each command under its panel."""
    from celeryfleet.cli.main import app

    root = typer.main.get_command(app)
    plain(root)
    panels: dict[str, list[str]] = {}
    for command in root.commands.values():  # type: ignore[attr-defined]
        panels.setdefault(command.rich_help_panel or "Commands", []).extend(_sections(command, "celeryfleet"))
    parts = [_HEAD, "## Before the command\n", *_table(root)]
    for panel, sections in panels.items():
        parts += [f"## {panel}\n", *sections]
    return "\n".join(parts)


def _sections(command: Any, above: str) -> Iterator[str]:
    """Yield the section of a command, and of those below it."""
    path = f"{above} {command.name}"
    yield f"### {path.partition(' ')[2]}\n"
    below = " COMMAND" if getattr(command, "commands", {}) else ""
    yield f"```text\n{' '.join([path, '[OPTIONS]', *map(_word, _arguments(command))])}{below}\n```\n"
    for paragraph in (command.help or "").split("\n\n"):
        yield f"{_markdown(' '.join(paragraph.split()))}\n"
    yield from _table(command)
    calls = re.findall(r"\[bold](.*?)\[/]", command.epilog or "")
    if calls:
        yield "\n".join(["```sh", *calls, "```\n"])
    for one in getattr(command, "commands", {}).values():
        yield from _sections(one, path)


def _arguments(command: Any) -> list[Any]:
    return [param for param in command.params if param.param_type_name == "argument"]


def _word(argument: Any) -> str:
    word = f"{argument.metavar or argument.name.upper()}{'…' if argument.nargs == -1 else ''}"
    return word if argument.required else f"[{word}]"


def _table(command: Any) -> Iterator[str]:
    """Yield the arguments that are explained, and the options."""
    rows = [(f"`{argument.metavar}`", argument.help) for argument in _arguments(command) if argument.help]
    for option in command.params:
        if option.param_type_name != "argument":
            values = [] if option.is_flag else (option.metavar or "VALUE").split("|")
            names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
            rows.append((" ".join([names, " or ".join(f"`{value}`" for value in values)]).strip(), option.help or ""))
    if rows:
        yield "\n".join(["| | |", "|---|---|", *(f"| {name} | {_markdown(text)} |" for name, text in rows)]) + "\n"


def _markdown(text: str) -> str:
    """Write what is marked up for a terminal as Markdown."""
    for sign in "|*<":
        text = text.replace(sign, f"\\{sign}")
    return re.sub(r"\[bold](.*?)\[/]", r"`\1`", text)

"""Writes grammar.json, by which words are completed without importing Typer: `python -m celeryfleet.cli.grammar`.

The same command writes the reference of the command line (reference.py).

What can stand where a command takes a POOL, a QUEUE or the like is known by that word, its metavar.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from celeryfleet.lint.registry import CODES

FILE = Path(__file__).with_name("grammar.json")


def grammar() -> str:
    """Return all commands with what they take, a command a line."""
    from celeryfleet.cli.main import app

    whole = _node(typer.main.get_command(app))
    commands = ",\n".join(f"{json.dumps(name)}: {json.dumps(node)}" for name, node in whole.pop("commands").items())
    codes = {code: rule.name for code, rule in CODES.items()}
    rest = json.dumps({**whole, "codes": codes})[1:-1]
    return f'{{{rest},\n"commands": {{\n{commands}\n}}}}\n'


def _node(command: Any, above: Any = None) -> dict[str, Any]:
    context = command.make_context(command.name, [], parent=above, resilient_parsing=True)
    node: dict[str, Any] = {"help": (command.help or "").partition("\n")[0], "options": {}, "arguments": []}
    for param in command.get_params(context):
        kind = param.metavar or ""
        if param.param_type_name == "argument":
            node["arguments"].append(f"{kind}{'…' if param.nargs == -1 else ''}")
            continue
        flag = getattr(param, "is_flag", False)
        for name in sorted({*param.opts, *param.secondary_opts}):  # those of --help lie in a set
            node["options"][name] = ["" if flag else kind or "VALUE", param.help or ""]
    if hasattr(command, "commands"):
        node["commands"] = {name: _node(below, context) for name, below in sorted(command.commands.items())}
    return node


if __name__ == "__main__":
    from celeryfleet.cli import reference

    FILE.write_text(grammar(), "utf-8")
    reference.FILE.write_text(reference.reference(), "utf-8")

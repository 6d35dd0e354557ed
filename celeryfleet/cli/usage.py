"""The words of a command line: options that many commands have, and what is wrong with unknown ones, with a guess."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, TypedDict, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.suggest import did_you_mean, unknown

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]
Since = Annotated[str | None, typer.Option("--since", metavar="T", help="10m, or 2026-11-20T10:00.")]

E = TypeVar("E", bound=StrEnum)


class OneOf(TypedDict):
    """What Typer is told of a word that is one of a few."""

    parser: Callable[[str], Any]
    metavar: str


def one_of(kinds: type[E], noun: str) -> OneOf:
    """Declare an argument or an option that takes one of these words: an unknown one is guessed."""

    def read(word: str) -> E:
        try:
            return kinds(word)
        except ValueError:
            raise unknown(noun, word, kinds) from None

    return {"parser": read, "metavar": "|".join(kinds)}


class WithNumbers(TyperCommand):
    """A command whose arguments may be numbers below zero, which Click takes for options."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Put a blank before each such number, which neither an option's number nor `read_argument` minds."""
        return super().parse_args(ctx, [f" {word}" if _BELOW_ZERO.fullmatch(word) else word for word in args])


_BELOW_ZERO = re.compile(r"-(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


class WithPage(TyperCommand):
    """A command whose --ui may stand without an address, which Click can't tell from a pool."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Give it an empty one where none follows."""
        return super().parse_args(ctx, spelled(args))


def spelled(args: list[str]) -> list[str]:
    """Write `--ui` as `--ui=` where no address follows."""
    bare = [word == "--ui" and not _ADDRESS.fullmatch(after) for word, after in pairwise([*args, ""])]
    return ["--ui=" if alone else word for word, alone in zip(args, bare, strict=True)]


#: what is an address, and not the name of a pool
_ADDRESS = re.compile(r"\d+|localhost|.*[:.].*")


def read_argument(word: str) -> str:
    """Return an argument of a task as it was typed."""
    return word[1:] if _BELOW_ZERO.fullmatch(word[1:]) else word


def an_id(word: str) -> str:
    """Return an id as it was typed. Raises FleetError for an empty one, such as that of a variable never set."""
    if not word.strip():
        raise FleetError(
            "the id is empty.", hint="`celeryfleet failed` and `active` list ids; `send --no-wait` prints one."
        )
    return word


class Group(TyperGroup):
    """Commands, of which an unknown one is guessed."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first word names. Raises FleetError."""
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            hint = did_you_mean(args[0], self.list_commands(ctx)) or f"`{ctx.command_path} -h` lists them."
            raise FleetError(f'there is no command "{ctx.command_path} {args[0]}".', hint=hint)
        return super().resolve_command(ctx, args)


def plain(command: Any, above: Any = None) -> None:
    """Leave out of all help what tells a reader nothing, and put the examples of a docstring at its end, one a line."""
    context = command.make_context(command.name, [], parent=above, resilient_parsing=True)
    for param in command.get_params(context):
        if param.param_type_name == "argument" or getattr(param, "is_flag", False):
            param.display_type_rich = lambda ctx: None  # Typer shows `<bool>` and `<str>` since 0.26
    text, _, examples = (command.help or "").partition("Examples: ")
    if examples:
        calls = re.findall(r"\[bold](.*?)\[/]", examples, re.DOTALL)
        command.help = text.rstrip()
        command.epilog = "\n".join(["Examples:", *(f"  [bold]{' '.join(call.split())}[/]" for call in calls)])
    for below in getattr(command, "commands", {}).values():
        plain(below, context)


def explained(error: Any) -> FleetError:
    """Say in our words what Click says of a command line."""
    context, path = error.ctx, error.ctx.command_path if error.ctx else "celeryfleet"
    if type(error).__name__ != "NoSuchOption":
        text = error.format_message().rstrip(".")
        return FleetError(f"{path}: {text}.", hint=context.get_usage() if context else f"See {path} -h.")
    name, root = error.option_name, context.find_root()
    if name == "--host":
        hint = "Run it on that host. `up`, `scale` and `restart` take --host; `status --all` shows all hosts."
        return FleetError(f"not supported: {path} with --host.", hint=hint)
    if context is not root and name in _options(root):
        hint = f"It stands before the command: celeryfleet {name} … {context.info_name}"
    else:
        hint = did_you_mean(name, _options(context)) or f"`{path} -h` lists its options."
    return FleetError(f"{path} has no option {name}.", hint=hint)


def _options(context: Any) -> list[str]:
    options = [name for param in context.command.get_params(context) for name in (*param.opts, *param.secondary_opts)]
    return [name for name in options if name.startswith("-")]

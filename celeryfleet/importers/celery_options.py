"""What a command line says to Celery, read by Celery's own parsers: its click commands and `celery multi`'s.

Nothing is run, and values stay as they are written, for they may hold `${VAR}`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from celeryfleet.importers.found import Words
from celeryfleet.importers.variables import settled, varies
from celeryfleet.plan.secrets import MASK, is_secret

if TYPE_CHECKING:
    import click

#: spellings and options of Celery 3 and 4, the name first
_OLDER_VALUES = (
    *("pidfile -p", "loglevel -L", "max_tasks_per_child --maxtasksperchild", "max_memory_per_child --maxmemperchild"),
    *("statedb --state-db", "pythonpath --pythonpath", "settings --settings", "verbosity --verbosity"),
)
_OLDER_FLAGS = ("autoreload --autoreload", "no_execv --no-execv", "traceback --traceback")


@cache
def _celery() -> Any:
    """Return Celery's own command, with its global options and all its commands."""
    from celery.bin.celery import celery

    return celery


def commands() -> frozenset[str]:
    """Name Celery's commands."""
    return frozenset((*_celery().commands, "flower"))


@cache
def _command(name: str) -> click.Command:
    """Return one of Celery's commands with the global options too, which Celery 4 took after it."""
    from celery.bin.base import CeleryCommand, CeleryOption

    older = [CeleryOption(spelling.split()) for spelling in _OLDER_VALUES]
    older += [CeleryOption(spelling.split(), is_flag=True) for spelling in _OLDER_FLAGS]
    params = [*_celery().params, *_celery().commands[name].params, *(older if name == "worker" else ())]
    command: click.Command = CeleryCommand(name, params=params)
    return command


@cache
def _parser(name: str) -> Any:
    """Return click's parser of a command's options."""
    command = _command(name)
    context = command.context_class(command, ignore_unknown_options=True, token_normalize_func=_normal)
    return command.make_parser(context)


@cache
def _spellings() -> Mapping[str, bool]:
    """Return the options of `celery worker` as they are written, and whether each takes a value."""
    params = _command("worker").params
    return {spelling: not getattr(param, "is_flag", False) for param in params for spelling in param.opts}


def _normal(written: str) -> str:
    """Return an option's name of today; Celery 3 and 4 knew it by any beginning that fits no other."""
    name = written.replace("_", "-")
    near = [known[2:] for known in _spellings() if known.startswith(f"--{name}")] if len(name) > 2 else []
    return near[0] if name not in near and len(near) == 1 else name


def split(words: Words) -> tuple[Words, str, Words] | None:
    """Cut celery's arguments at its command: those before it, the command, those after it.

    Options of the worker may stand before it, too. The command is empty where it is a variable; None: there is none.
    """
    index = 0
    while index < len(words) and words[index][:1] == "-":
        index += 2 if _takes_value(words[index]) else 1
    name = words[index] if index < len(words) else ""
    if name in commands():
        return words[:index], name, words[index + 1 :]
    return (words[:index], "", words[index:]) if varies(name) else None


def _takes_value(word: str) -> bool:
    """Tell whether an option's value is the word after it."""
    return _spellings().get(f"--{_normal(word[2:])}" if word[:2] == "--" else word, False)


@dataclass(slots=True)
class Parsed:
    """What a command line says."""

    #: Celery's name of an option → its value as written; a flag's is empty
    options: dict[str, str] = field(default_factory=dict)
    #: what of it cannot be taken, each a sentence
    problems: list[str] = field(default_factory=list)


def parse(words: Sequence[str], command: str = "worker") -> Parsed:
    """Read the arguments of a command, global options among them."""
    from click import UsageError

    end = words.index("--") if "--" in words else len(words)
    found, left = Parsed(), _rejoined(words[:end])
    while True:
        try:
            values, stray, _ = _parser(command).parse_args(list(left))
            break
        except UsageError as error:
            found.problems.append(f"Celery refuses it: {error.message}")
            culprit = f"{getattr(error, 'option_name', '')}="
            others = [word for word in left if not word.startswith(culprit)]
            left = others if len(others) < len(left) else left[:-1]
    found.options = {name: value if isinstance(value, str) else "" for name, value in values.items()}
    found.problems += _unknown(stray)
    if settings := " ".join(map(_veiled, words[end + 1 :])):
        found.problems.append(f"`-- {settings}`: write settings under `celery:`, as in worker_prefetch_multiplier: 1")
    return found


def _rejoined(words: Sequence[str]) -> list[str]:
    """Put together what the shell takes apart in `-Q a, b`."""
    found: list[str] = []
    for word in words:
        if found and word[:1] != "-" and (found[-1].rstrip().endswith(",") or word.startswith(",")):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def _unknown(stray: Sequence[str]) -> Iterator[str]:
    rest = deque(stray)
    while rest:
        word = rest.popleft()
        if word[:1] != "-" or word == "-":
            yield f"`{_veiled(word)}` belongs to no option"
            continue
        value = rest.popleft() if rest and rest[0][:1] != "-" and "=" not in word else ""
        yield f"`{_veiled(f'{word} {value}'.rstrip())}` is no option of `celery worker`"


def _veiled(word: str) -> str:
    """Hide a value that may be a credential."""
    name, sign, value = word.partition("=") if "=" in word else word.partition(" ")
    return f"{name}{sign}{MASK}" if "://" in word or (value and is_secret(name)) else word


def from_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the options that the environment sets by way of click, as CELERY_WORKER_QUEUES."""
    params = (param for param in _celery().commands["worker"].params if not param.is_flag)
    names = {f"CELERY_WORKER_{param.name.upper()}": param.name for param in params}
    return {names[variable]: value for variable, value in env.items() if value and variable in names}


# --- celery multi -----------------------------------------------------------------------------------------

_MOST_NODES = 1000
_STARTS = ("start", "restart", "show")


def starts(words: Words) -> bool:
    """Tell whether these arguments of `celery multi` start nodes: its command is the first word that is no option."""
    return next((word for word in words if not word.startswith("-") and not varies(word)), "") in _STARTS


def nodes(words: Sequence[str], known: Mapping[str, str], doubts: list[str]) -> list[tuple[str, Words]]:
    """Return the name and the arguments of each node of `celery multi start …`.

    `words` follow the command, `known` are variables, and what is not understood is added to `doubts`, as sentences.
    """
    from celery.apps.multi import MultiParser, NamespacedOptionParser
    from celery.bin.multi import MultiTool

    end = words.index("--") if "--" in words else len(words)
    reserved = [option for option, _ in MultiTool.reserved_options]
    own = [word for word in _with_values(words[:end], doubts) if word not in reserved]
    line, multi = NamespacedOptionParser(own), MultiParser()
    multi.Node = lambda name, cmd, append, options, settings: (name, options)
    try:
        line.parse()
        line.values = _names(line.values, known, doubts)
        if max(_numbers([*line.namespaces, *line.values]), default=0) > _MOST_NODES:
            raise ValueError(f"more than {_MOST_NODES} nodes are too many")
        _leave_out_others(line, doubts)
        found = list(multi.parse(line))
    except (ValueError, KeyError, IndexError) as error:
        doubts.append(f"the arguments of `celery multi` cannot be read: {error}")
        return []
    return [
        (name.partition("@")[0], (*(part for option in options.items() for part in _written(*option)), *words[end:]))
        for name, options in found
    ]


def _numbers(texts: Iterable[str]) -> Iterator[int]:
    """Go through the numbers of `3`, `1-3` and `1,2`, as Celery's parser reads them."""
    for part in re.split("[,-]", ",".join(texts)):
        with suppress(ValueError):
            yield int(part)


def _leave_out_others(line: Any, doubts: list[str]) -> None:
    """Leave out options for nodes that there are not, at which Celery's parser would fail."""
    names: list[str] = line.values
    counted = len(names) == 1 and names[0].isdecimal()
    there = {*names, *(name.partition("@")[0] for name in names)}
    there |= set(map(str, range(1, (int(names[0]) if counted else len(names)) + 1)))
    for written, options in list(line.namespaces.items()):
        missing = [node for node in written.split(",") if node not in there and not (counted and "-" in node)]
        for node in missing:
            shown = ", ".join(f"{option}:{written}" for option in options)
            doubts.append(f"`{shown}` is for the node {node}, which there is not")
        if missing == [written]:
            del line.namespaces[written]


def _with_values(words: Sequence[str], doubts: list[str]) -> Iterator[str]:
    """Give long options the value after them, which `celery multi` takes for a node's name."""
    rest = deque(words)
    while rest:
        word = rest.popleft()
        if word.startswith("--") and _takes_value(word.partition(":")[0]) and rest and not rest[0].startswith("-"):
            value = rest.popleft()
            doubts.append(f"`{word} {value}`: `celery multi` takes {value} for a node's name; here it is the value")
            word = f"{word}={value}"
        yield word


def _names(written: Sequence[str], known: Mapping[str, str], doubts: list[str]) -> list[str]:
    """Return the nodes' names or their number; one node where the file does not tell."""
    values = {word: settled(word, known) for word in written}
    doubts += [
        f"`{word}`: the file does not tell what it holds, nodes or options" for word in values if values[word] is None
    ]
    return " ".join(value or "" for value in values.values()).split() or ["1"]


def _written(option: str, value: str | None) -> Words:
    if value is None:
        return (option,)
    return (f"{option}={value}",) if option.startswith("--") else (option, value)

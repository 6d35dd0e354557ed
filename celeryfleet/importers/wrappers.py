"""Finds the Celery command in a command line, whatever it is wrapped in, and says what the wrapping did."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from posixpath import basename

from celeryfleet.importers import shell
from celeryfleet.importers.found import Fate, Words
from celeryfleet.importers.options import GLOBAL_VALUES

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
#: they name Celery without starting it
TALKERS = frozenset(
    {
        *(
            "[",
            "[[",
            "cat",
            "chmod",
            "chown",
            "echo",
            "grep",
            "kill",
            "killall",
            "logger",
            "ls",
            "mkdir",
            "pgrep",
            "pip",
        ),
        *("pkill", "printf", "ps", "rm", "test", "touch", "trap", "which"),
    }
)
#: levels of `sh -c "bash -c '…'"`
_DEEPEST = 5


class Kind(StrEnum):
    """What a Celery command is."""

    WORKER = "worker"
    BEAT = "beat"
    FLOWER = "flower"
    MULTI = "multi"
    OTHER = "other"  #: inspect, events, shell…


#: the programs of Celery 3 and older, each a command of its own
_PROGRAMS = {
    "celeryd": Kind.WORKER,
    "celerybeat": Kind.BEAT,
    "celeryd-multi": Kind.MULTI,
    "celeryd_multi": Kind.MULTI,
    "flower": Kind.FLOWER,
}
_COMMANDS = {kind.value: kind for kind in Kind if kind is not Kind.OTHER}


@dataclass(frozen=True, slots=True)
class Call:
    """One Celery command."""

    kind: Kind
    #: its arguments, global ones first
    args: Words
    #: the words before it: how it is wrapped
    prefix: Words = ()
    #: `VAR=value` before it
    env: dict[str, str] = field(default_factory=dict)
    #: the word that is Celery, such as /srv/venv/bin/celery
    program: str = ""
    #: options that stood on lines of their own, without a backslash before them
    joined: Words = ()
    #: commands of the script around it that start nothing of Celery's: those before it, and those after the last call
    before: tuple[Words, ...] = ()
    after: tuple[Words, ...] = ()
    #: its redirections into files, as `>> worker.log`
    files: Words = ()


def calls(words: Sequence[str], depth: int = 0) -> Iterator[Call]:
    """Find the Celery commands of one simple command; those of a script in it, such as `sh -c "…"`, too."""
    start = next((i for i, word in enumerate(words) if not _ASSIGNMENT.fullmatch(word)), len(words))
    if start == len(words) or basename(words[start]) in TALKERS:
        return
    for index in range(start, len(words)):
        call = _call(words, index)
        if call is not None:
            yield replace(call, files=words.files) if isinstance(words, shell.Command) else call
            return
    for index, word in enumerate(words):
        if depth < _DEEPEST and any(c.isspace() for c in word) and "celery" in word.lower():
            yield from _within(words, index, depth)


def _within(words: Sequence[str], index: int, depth: int) -> Iterator[Call]:
    before = tuple(words[:index])
    found: list[Call] = []
    idle: list[Words] = []
    for inner in shell.commands(words[index]):
        if inner[0].startswith("-") and found:  # the next line of `command: >`, indented, is a new line to the shell
            last = found[-1]
            found[-1] = replace(last, args=last.args + inner, joined=(*last.joined, inner[0]))
            continue
        inside = list(calls(inner, depth + 1))
        for call in inside:
            steps = (*idle, *call.before)
            found.append(replace(call, prefix=before + call.prefix, env=_assigned(before) | call.env, before=steps))
            idle = []
        idle += [] if inside else [inner]
    if found and idle:
        found[-1] = replace(found[-1], after=(*found[-1].after, *idle))
    yield from found


def _call(words: Sequence[str], index: int) -> Call | None:
    word, name = words[index], basename(words[index]).removesuffix(".exe")
    rest = tuple(words[index + 1 :])
    prefix = tuple(words[:index])
    if name == "celery.__main__.main":  # watchfiles celery.__main__.main --args '-A shop worker'
        rest = _watched(rest)
    elif name in _PROGRAMS:
        kind = _PROGRAMS[name]
        whole = index == 0 or kind is not Kind.FLOWER or words[index - 1] == "-m"
        return Call(kind, rest, prefix, _assigned(prefix), word) if whole else None
    elif name != "celery":
        return None
    at = _command_at(rest)
    if at is None:
        return None
    kind = _COMMANDS.get(rest[at], Kind.OTHER)
    return Call(kind, rest[:at] + rest[at + 1 :], prefix, _assigned(prefix), word)


def _watched(words: Words) -> Words:
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--args", "-a"):
            return tuple(shlex.split(value if equals else "".join(words[index + 1 : index + 2])))
    return ()


#: celery's commands besides those that run something
_OTHERS = frozenset(
    {
        *(
            "amqp",
            "call",
            "control",
            "events",
            "graph",
            "help",
            "inspect",
            "list",
            "logtool",
            "migrate",
            "purge",
            "report",
        ),
        *("result", "shell", "status", "upgrade"),
    }
)


def _command_at(words: Words) -> int | None:
    """Return where celery's command stands, after the global options; None if there is none."""
    skip = False
    for index, word in enumerate(words):
        if skip:
            skip = False
        elif word in GLOBAL_VALUES:
            skip = True
        elif not word.startswith("-"):
            return index if word in _COMMANDS or word in _OTHERS else None
    return None


def _assigned(words: Sequence[str]) -> dict[str, str]:
    return {match[1]: match[2] for word in words if (match := _ASSIGNMENT.fullmatch(word))}


def assignments(words: Sequence[str]) -> dict[str, str]:
    """Return what a command that does nothing else assigns: `A=b`, or `export A=b`."""
    rest = words[1:] if words and words[0] in ("export", "set", "declare", "readonly", "local") else words
    found = _assigned(rest)
    return found if len(found) == len(rest) else {}


# --- What the wrapping did --------------------------------------------------------------------------------

_RELOADS = "restarts workers when the code changes: `celeryfleet reload` reads new code"
_INSTRUMENTS = "instruments a process from outside: have the app do it, or try `{} celeryfleet up`"
_USER = "changes the user: the fleet runs as the user who starts it"
_LIMITS = "sets limits for a process: start celeryfleet under it"
_WAITS = "waits for a server: workers wait for the broker by themselves, and for nothing else"
_INIT = "reaps processes: the supervisor does"
_MANAGER = "runs it in an environment of its own: install celeryfleet there and run `{} celeryfleet up`"
_CONTAINER = "runs it in a container: celeryfleet runs where fleet.yaml is"

#: the word that names a wrapper → what is to be said of it; {} stands for the words that go before celeryfleet
_SAID: dict[str, tuple[Fate, str, str]] = {
    **dict.fromkeys(("watchmedo", "watchfiles", "nodemon", "hupper", "entr"), (Fate.LOST, _RELOADS, "")),
    **{
        name: (Fate.LOST, _INSTRUMENTS, command)
        for name, command in (
            ("newrelic-admin", "newrelic-admin run-program"),
            ("ddtrace-run", "ddtrace-run"),
            ("opentelemetry-instrument", "opentelemetry-instrument"),
            ("coverage", "coverage run -m"),
            ("py-spy", "py-spy record --"),
            ("debugpy", "python -m debugpy -m"),
        )
    },
    **dict.fromkeys(("gosu", "su-exec", "su", "sudo", "runuser", "chpst", "setuidgid"), (Fate.LOST, _USER, "")),
    **dict.fromkeys(("nice", "ionice", "chrt", "taskset", "numactl", "timeout"), (Fate.LOST, _LIMITS, "")),
    **dict.fromkeys(("dumb-init", "tini", "catatonit", "docker-init"), (Fate.NEEDLESS, _INIT, "")),
    **dict.fromkeys(
        ("wait-for-it.sh", "wait-for-it", "wait-for.sh", "wait-for", "wait", "dockerize"), (Fate.LOST, _WAITS, "")
    ),
    **{
        name: (Fate.CHANGED, _MANAGER, f"{name} run")
        for name in ("poetry", "uv", "pipenv", "pdm", "rye", "hatch", "conda", "mamba", "micromamba", "pixi", "honcho")
    },
    **dict.fromkeys(("docker", "docker-compose", "podman", "kubectl"), (Fate.LOST, _CONTAINER, "")),
}
_SILENT = frozenset(
    {
        *("!", "(", "ash", "bash", "command", "dash", "do", "elif", "else", "env", "exec", "if", "ksh", "manage.py"),
        *("nohup", "setsid", "sh", "stdbuf", "then", "time", "while", "zsh", "{"),
    }
)
_PYTHON = re.compile(r"pypy3?|python[0-9.]*|py")


def said(call: Call) -> Iterator[tuple[Fate, str]]:
    """Say what of the wrapping a fleet lacks, changes or does anyway."""
    names = [basename(word) for word in call.prefix]
    for index, name in enumerate(names):
        if name in _SAID and (index == 0 or not names[index - 1].startswith("-") or names[index - 1] == "--"):
            fate, text, command = _SAID[name]
            yield fate, f"`{_short(call.prefix[index:], name)}` {text.format(command)}"
    first = next((word for word in call.prefix if not _ASSIGNMENT.fullmatch(word)), "")
    name = basename(first)
    if first and name not in _SAID and name not in _SILENT and not _PYTHON.fullmatch(name):
        yield Fate.LOST, f"`{first}` is not run before the workers"
    interpreter = next((word for word in (call.program, *call.prefix) if _in_environment(word)), "")
    if interpreter:
        yield Fate.CHANGED, f"it runs from {interpreter}: install celeryfleet in that environment"


def _short(words: Words, name: str) -> str:
    """Write a wrapper with its subcommand: `watchmedo auto-restart`."""
    follows = words[1] if len(words) > 1 else ""
    return f"{name} {follows}" if re.fullmatch(r"[a-z]+(-[a-z]+)*", follows) and name not in ("su", "sudo") else name


def _in_environment(word: str) -> bool:
    """Tell whether a word is a program of a virtual environment, such as /srv/venv/bin/celery."""
    folder, _, name = word.rpartition("/")
    ours = name.startswith("celery") or _PYTHON.fullmatch(name)
    return bool(ours) and folder.endswith("/bin") and folder not in ("/bin", "/usr/bin", "/usr/local/bin")

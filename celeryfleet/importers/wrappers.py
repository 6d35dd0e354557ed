"""Finds the Celery command in a command line, whatever it is wrapped in, and says what the wrapping did."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from posixpath import basename

from celeryfleet.importers import celery_options, shell
from celeryfleet.importers.found import Command, Fate, Words

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
#: they name Celery without starting it
TALKERS = re.compile(
    r"\[|\[\[|cat|chmod|chown|echo|grep|kill|killall|logger|ls|mkdir|pgrep|pip|pkill|printf|ps|rm|test|touch|trap|which"
)
#: levels of `sh -c "bash -c '…'"`
_DEEPEST = 5
#: the programs of Celery 3 and older, each a command of its own
_PROGRAMS = {
    "celeryd": "worker",
    "celerybeat": "beat",
    "celeryd-multi": "multi",
    "celeryd_multi": "multi",
    "flower": "flower",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a Celery command."""

    #: worker, beat, multi, flower, inspect…
    name: str
    args: Words
    #: the words before `celery`: how it is wrapped
    prefix: Words = ()
    #: global options between `celery` and the name
    options: Words = ()
    #: `VAR=value` before it
    env: dict[str, str] = field(default_factory=dict)
    #: the word that is Celery, such as /srv/venv/bin/celery
    program: str = ""
    #: options that stood on lines of their own, without a backslash before them
    joined: Words = ()
    #: commands of the script around it that start nothing of Celery's: those before it, and those after the last call
    before: tuple[Command, ...] = ()
    after: tuple[Command, ...] = ()
    #: its redirections into files, as `>> worker.log`
    files: Words = ()


def calls(command: Command, depth: int = 0) -> Iterator[Call]:
    """Find the Celery calls of one simple command, those of a script in it, such as `sh -c "…"`, too.

    Raises ValueError where a quote of that script is not closed.
    """
    words = command.words
    start = next((i for i, word in enumerate(words) if not _ASSIGNMENT.fullmatch(word)), len(words))
    if start == len(words) or TALKERS.fullmatch(basename(words[start])):
        return
    for index in range(start, len(words)):
        call = _call(words, index)
        if call is not None:
            yield replace(call, files=command.files)
            return
    for index, word in enumerate(words):
        if depth < _DEEPEST and any(c.isspace() for c in word) and "celery" in word.lower():
            yield from _within(words[:index], word, depth)


def _within(prefix: Words, script: str, depth: int) -> Iterator[Call]:
    found: list[Call] = []
    idle: list[Command] = []
    for inner in shell.commands(script):
        if inner.words[0].startswith("-") and found:
            # The next line of `command: >`, which is indented, is a new line to the shell.
            last = found[-1]
            found[-1] = replace(last, args=last.args + inner.words, joined=(*last.joined, inner.words[0]))
            continue
        inside = list(calls(inner, depth + 1))
        for call in inside:
            env, steps = assigned(prefix) | call.env, (*idle, *call.before)
            found.append(replace(call, prefix=prefix + call.prefix, env=env, before=steps))
            idle = []
        idle += [] if inside else [inner]
    if found and idle:
        found[-1] = replace(found[-1], after=(*found[-1].after, *idle))
    yield from found


def _call(words: Words, index: int) -> Call | None:
    word, name = words[index], basename(words[index]).removesuffix(".exe")
    prefix, rest = words[:index], words[index + 1 :]
    if name in _PROGRAMS and (name != "flower" or index == 0 or words[index - 1] == "-m"):
        return Call(_PROGRAMS[name], rest, prefix, (), assigned(prefix), word)
    if name == "celery.__main__.main":  # watchfiles celery.__main__.main --args '-A shop worker'
        rest = _watched(rest)
    elif name != "celery":
        return None
    options, command, args = celery_options.split(rest)
    return Call(command, args, prefix, options, assigned(prefix), word) if command else None


def _watched(words: Words) -> Words:
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--args", "-a"):
            return tuple(shlex.split(value if equals else "".join(words[index + 1 : index + 2])))
    return ()


def assigned(words: Sequence[str]) -> dict[str, str]:
    """Return what `VAR=value` among the words assigns."""
    return {match[1]: match[2] for word in words if (match := _ASSIGNMENT.fullmatch(word))}


def assignments(words: Sequence[str]) -> dict[str, str]:
    """Return what a command that does nothing else assigns: `A=b`, or `export A=b`."""
    rest = words[1:] if words and words[0] in ("export", "set", "declare", "readonly", "local") else words
    found = assigned(rest)
    return found if len(found) == len(rest) else {}


# --- What the wrapping did --------------------------------------------------------------------------------

#: programs that wrap others → what is to be said of them
_SAID: dict[str, tuple[Fate, str]] = {
    "watchmedo|watchfiles|nodemon|hupper|entr": (
        Fate.LOST,
        "restarts workers when the code changes: `celeryfleet reload` reads new code",
    ),
    "newrelic-admin|ddtrace-run|opentelemetry-instrument|coverage|py-spy|debugpy": (
        Fate.LOST,
        "instruments a process from outside: have the app do it, or try to start `celeryfleet up` under it",
    ),
    "gosu|su-exec|su|sudo|runuser|chpst|setuidgid": (
        Fate.LOST,
        "changes the user: the fleet runs as the user who starts it",
    ),
    "nice|ionice|chrt|taskset|numactl|timeout": (
        Fate.LOST,
        "sets limits for a process: start celeryfleet under it",
    ),
    "dumb-init|tini|catatonit|docker-init": (Fate.NEEDLESS, "reaps processes: the supervisor does"),
    r"wait-for-it(\.sh)?|wait-for(\.sh)?|wait|dockerize": (
        Fate.LOST,
        "waits for a server: workers wait for the broker by themselves, and for nothing else",
    ),
    "poetry|uv|pipenv|pdm|rye|hatch|conda|mamba|micromamba|pixi|honcho": (
        Fate.CHANGED,
        "runs it in an environment of its own: install celeryfleet there and start `celeryfleet up` under it",
    ),
    "docker|docker-compose|podman|kubectl": (
        Fate.LOST,
        "runs it in a container: celeryfleet runs where fleet.yaml is",
    ),
}
_SILENT = re.compile(
    r"!|\(|\{|(ba|da|k|z|a)?sh|command|do|elif|else|env|exec|if|manage\.py|nohup|setsid|stdbuf|then|time|while|"
    r"pypy3?|python[0-9.]*|py"
)


def _fate(name: str) -> tuple[Fate, str] | None:
    return next((said for names, said in _SAID.items() if re.fullmatch(names, name)), None)


def said(call: Call) -> Iterator[tuple[Fate, str]]:
    """Say what of the wrapping a fleet lacks, changes or does anyway."""
    names = [basename(word) for word in call.prefix]
    for index, name in enumerate(names):
        found = _fate(name)
        if found and (index == 0 or not names[index - 1].startswith("-") or names[index - 1] == "--"):
            yield found[0], f"`{_short(call.prefix[index:], name)}` {found[1]}"
    first = next((word for word in call.prefix if not _ASSIGNMENT.fullmatch(word)), "")
    if first and not _fate(basename(first)) and not _SILENT.fullmatch(basename(first)):
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
    return (
        re.match("celery|py", name) is not None
        and folder.endswith("/bin")
        and folder not in ("/bin", "/usr/bin", "/usr/local/bin")
    )

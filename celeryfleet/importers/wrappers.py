"""Finds the Celery command in a command line, whatever it is wrapped in, and says what the wrapping did."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from posixpath import basename

from celeryfleet.importers import celery_options, shell
from celeryfleet.importers.found import USER, Command, Fate, Words

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
#: they name Celery without starting it
TALKERS = re.compile(
    r"\[|\[\[|cat|chmod|chown|echo|grep|kill|killall|logger|ls|mkdir|pgrep|pip|pkill|printf|ps|rm|test|touch|trap|which"
)
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
    #: the word that is Celery, such as /srv/venv/bin/celery
    program: str = ""

    @property
    def env(self) -> dict[str, str]:
        """Return what `VAR=value` before it assigns."""
        return assigned(self.prefix)


def call(words: Words) -> Call | None:
    """Find the Celery call among the words of a simple command. Raises ValueError."""
    start = _start(words)
    return next((found for index in range(start, len(words)) if (found := _call(words, index))), None)


def scripts(words: Words, where: str) -> Iterator[tuple[Words, tuple[Command, ...]]]:
    """Take apart the scripts among the words, as in `sh -c "…"`, that speak of Celery; yield the words before each too.

    Raises ValueError where a quote of a script is not closed.
    """
    for index in range(_start(words), len(words)):
        if any(c.isspace() for c in words[index]) and "celery" in words[index].lower():
            commands = shell.commands(words[index], where)
            if [command.words for command in commands] != [(words[index],)]:
                yield words[:index], commands


def mentions(words: Words) -> bool:
    """Tell whether a command is one of Celery's, such as `celery inspect`. Raises ValueError."""
    inner = (command.words for _, commands in scripts(words, "") for command in commands)
    return call(words) is not None or any(map(mentions, inner))


def _start(words: Words) -> int:
    """Return where the program stands, after assignments; behind the end if it cannot start Celery."""
    start = next((index for index, word in enumerate(words) if not _ASSIGNMENT.fullmatch(word)), len(words))
    return len(words) if TALKERS.fullmatch(basename("".join(words[start : start + 1]))) else start


def _call(words: Words, index: int) -> Call | None:
    word, name = words[index], basename(words[index]).removesuffix(".exe")
    prefix, rest = words[:index], words[index + 1 :]
    if name in _PROGRAMS and (name != "flower" or index == 0 or words[index - 1] == "-m"):
        return Call(_PROGRAMS[name], rest, prefix, (), word)
    if name == "celery.__main__.main":  # watchfiles celery.__main__.main --args '-A shop worker'
        rest = _watched(rest)
    elif name != "celery":
        return None
    options, command, args = celery_options.split(rest)
    return Call(command, args, prefix, options, word) if command else None


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
    "gosu|su-exec|su|sudo|runuser|chpst|setuidgid": (Fate.LOST, f"changes the user: {USER}"),
    "nice|ionice|chrt|taskset|numactl|timeout": (Fate.LOST, "sets limits for a process: start celeryfleet under it"),
    "dumb-init|tini|catatonit|docker-init": (Fate.NEEDLESS, "reaps processes: the supervisor does"),
    r"wait-for-it(\.sh)?|wait-for(\.sh)?|wait|dockerize": (
        Fate.LOST,
        "waits for a server: workers wait for the broker by themselves, and for nothing else",
    ),
    "poetry|uv|pipenv|pdm|rye|hatch|conda|mamba|micromamba|pixi|honcho": (
        Fate.CHANGED,
        "runs it in an environment of its own: install celeryfleet there and start `celeryfleet up` under it",
    ),
    "docker|docker-compose|podman|kubectl": (Fate.LOST, "runs it in a container: celeryfleet runs where fleet.yaml is"),
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

"""Finds the Celery command or a script in a command line, whatever it is wrapped in, and says what the wrapping did."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from posixpath import basename

from celeryfleet.importers import celery_options, syntax
from celeryfleet.importers.found import USER, Call, Fate, Open, Words

_PYTHON = r"pypy3?|python[0-9.]*|py"
_SHELL = r"(ba|da|k|z|a)?sh"
_SCRIPT = re.compile(r"\.(ba|z|k)?sh$")
_SHEBANG = re.compile(r"#!.*sh\b")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
#: they name Celery without starting it
TALKERS = re.compile(
    r"\[|\[\[|cat|chmod|chown|cp|echo|grep|kill|killall|ln|logger|ls|mkdir|mv|pgrep|pip|pkill|printf|ps|rm|sed|test|touch|trap|"
    r"which"
)
#: the programs of Celery 3 and older, each a command of its own
_PROGRAMS = {
    "celeryd": "worker",
    "celerybeat": "beat",
    "celeryd-multi": "multi",
    "celeryd_multi": "multi",
    "flower": "flower",
}


def talks(program: str) -> bool:
    """Tell whether a program only speaks of Celery."""
    return TALKERS.fullmatch(basename(program)) is not None


def is_python(word: str) -> bool:
    """Tell whether a word starts Python."""
    return re.fullmatch(_PYTHON, basename(word)) is not None


def is_shell(word: str) -> bool:
    """Tell whether a word starts a shell."""
    return re.fullmatch(_SHELL, basename(word)) is not None


def bare(words: Words) -> bool:
    """Tell whether words are what Celery's own command takes, as for an image whose entrypoint is `celery`."""
    found = celery_options.split(words) if words and words[0][:1] == "-" else None
    return found is not None and (bool(found[1]) or words[0].startswith(("-A", "--app")))


def waits(name: str) -> bool:
    """Tell whether a program is known to wait for a server, and then starts the words after it."""
    return re.fullmatch(_WAITS, name) is not None


def call_at(words: Words, index: int) -> Call | None:
    """Return the Celery call that starts at this word. Raises ValueError."""
    word, name = words[index], basename(words[index]).rpartition("}")[2].removesuffix(".exe")  # ${BIN}celery
    prefix, rest = words[:index], words[index + 1 :]
    if name in _PROGRAMS and (name != "flower" or index == 0 or words[index - 1] == "-m"):
        return Call(_PROGRAMS[name], rest, prefix, (), word)
    if name == "celery.__main__.main":  # watchfiles celery.__main__.main --args '-A shop worker'
        rest = _watched(rest)
    elif name != "celery":
        return None
    found = celery_options.split(rest[1:] if rest[:1] == ("--",) else rest)  # start-stop-daemon --exec celery -- …
    return None if found is None else Call(found[1], found[2], prefix, found[0], word)


@dataclass(frozen=True, slots=True)
class Script:
    """A text for a shell, the place of its commands with `{}` for the line (empty: that of the word), and arguments."""

    text: str
    where: str = ""
    args: Words = ()


def script_at(words: Words, index: int, first: int, read: Open) -> Script | None:
    """Return the script that this word starts, in a command whose program is the word at `first`."""
    word, name = words[index], basename(words[index])
    if is_shell(word):
        return _of_shell(words[index + 1 :], read)
    spaced = any(c.isspace() for c in word)
    if words[index - 1] == "-c" and any(map(is_python, words[first:index])):  # its code is no shell's
        return None
    if index > first and spaced and ("celery" in word.lower() or _is_script(words[index - 1], word)):
        return Script(word)
    if spaced or waits(name) or not (index == first or "/" in word or "." in word):
        return None
    found = read(word)
    if found is None or not (_SCRIPT.search(found[0]) or _SHEBANG.match(found[1])):
        return None
    return Script(found[1], f"{found[0]}:{{}}", words[index + 1 :])


def _is_script(option: str, text: str) -> bool:
    """Tell whether what a program takes with an option may be a command; `psql -c 'select 1'` is none."""
    with suppress(ValueError):
        return option in ("-c", "--command") and bool(syntax.parse(text))
    return False


def _of_shell(words: Words, read: Open) -> Script | None:
    """Read `-c TEXT` or `FILE ARGS…` after the name of a shell."""
    rest = list(words)
    while rest and rest[0][:1] in ("-", "+"):
        option = rest.pop(0)
        if re.fullmatch("-[a-z]*c", option):
            return Script(rest[0], "", tuple(rest[2:])) if rest else None
        if re.fullmatch("[-+][a-z]*[oO]", option) and rest:
            rest.pop(0)
    found = read(rest[0]) if rest else None
    return Script(found[1], f"{found[0]}:{{}}", tuple(rest[1:])) if found else None


def _watched(words: Words) -> Words:
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--args", "-a"):
            return tuple(shlex.split(value if equals else "".join(words[index + 1 : index + 2])))
    return ()


def assigned(words: Sequence[str]) -> dict[str, str]:
    """Return what `VAR=value` among the words assigns."""
    return {match[1]: match[2] for word in words if (match := _ASSIGNMENT.fullmatch(word))}


# --- What the wrapping did --------------------------------------------------------------------------------

_WAITS = r"wait-for-it(\.sh)?|wait-for(\.sh)?|wait|dockerize"
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
    "gosu|su-exec|su|sudo|runuser|chpst|(s6-)?setuidgid": (Fate.LOST, f"changes the user: {USER}"),
    "nice|ionice|chrt|taskset|numactl|timeout": (Fate.LOST, "sets limits for a process: start celeryfleet under it"),
    "dumb-init|tini|catatonit|docker-init": (Fate.NEEDLESS, "reaps processes: the supervisor does"),
    _WAITS: (
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
    rf"!|\(|\{{|{_SHELL}|command|do|elif|else|env|exec|if|(.*[-_])?manage(\.py)?|nohup|setsid|stdbuf|then|time|while|"
    rf"{_PYTHON}"
)


def fate(name: str) -> tuple[Fate, str] | None:
    """Return what is to be said of a program that wraps others; None: it is not known to."""
    return next((said for names, said in _SAID.items() if re.fullmatch(names, name)), None)


def said(call: Call) -> Iterator[tuple[Fate, str]]:
    """Say what of the wrapping a fleet lacks, changes or does anyway."""
    names = [basename(word) for word in call.prefix]
    for index, name in enumerate(names):
        found = fate(name)
        if found and (index == 0 or not names[index - 1].startswith("-") or names[index - 1] == "--"):
            yield found[0], f"`{_short(call.prefix[index:], name)}` {found[1]}"
    first = next((word for word in call.prefix if not _ASSIGNMENT.fullmatch(word)), "")
    if first and not fate(basename(first)) and not _SILENT.fullmatch(basename(first)):
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

"""A program of the file → the workers that it starts, and what of its command lines a fleet does not take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from posixpath import basename

from celeryfleet.importers import nodes, options, wrappers
from celeryfleet.importers.found import Fate, Note, Program, Words, Worker
from celeryfleet.importers.options import GLOBAL_VALUES
from celeryfleet.importers.wrappers import Call, Kind
from celeryfleet.plan.secrets import MASK, is_secret
from celeryfleet.text import listed

#: commands of a script that change nothing worth telling
_QUIET = frozenset(
    {
        *(
            ".",
            ":",
            "[",
            "[[",
            "break",
            "case",
            "date",
            "do",
            "done",
            "echo",
            "elif",
            "else",
            "esac",
            "exit",
            "fi",
            "for",
        ),
        *("function", "if", "in", "kill", "local", "logger", "printf", "return", "set", "shift", "sleep", "source"),
        *("tee", "test", "then", "trap", "true", "wait", "while", "{", "}"),
    }
)


@dataclass(slots=True)
class Started:
    """What a program starts."""

    workers: list[Worker] = field(default_factory=list)
    #: apps that its other Celery commands name
    apps: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    #: where it starts beat
    beats: list[str] = field(default_factory=list)
    #: whether it starts anything of Celery's
    celery: bool = False


@dataclass(slots=True)
class _State:
    """Where a script is."""

    env: dict[str, str]
    folder: str = ""
    #: within the `else` of an `if` whose first branch started something
    other: bool = False


def started(program: Program, known: Mapping[str, str]) -> Started:
    """Find what a program starts; `known` are variables whose values are given."""
    found = Started()
    state = _State(dict(program.env))
    beside: list[str] = []
    for index, words in enumerate(program.commands):
        here = replace(program, where=program.places[index]) if program.places else program
        head = basename(words[0])
        if head in ("else", "elif", "fi"):
            state.other = head != "fi" and found.celery
        calls = _calls(words, here, found)
        _take_all(calls, state, here, known, found, beside)
        if not calls:
            _step(words, state, beside)
    if found.celery and beside:
        names = ", ".join(f"`{text}`" for text in beside[:5]) + (", …" if len(beside) > 5 else "")
        found.notes.append(Note(Fate.LOST, program.where, f"beside it runs {names}", program.name))
    return found


def _take_all(
    calls: Sequence[Call], state: _State, program: Program, known: Mapping[str, str], found: Started, beside: list[str]
) -> None:
    """Take the Celery commands of one command; what a script in it assigns ends with that script."""
    inner = replace(state, env=dict(state.env))
    for call in calls:
        for words in call.before:
            _step(words, inner, beside)
        _take(call, inner, program, known, found)
        for words in call.after:
            _step(words, inner, beside)


def _calls(words: Words, program: Program, found: Started) -> list[Call]:
    try:
        return list(wrappers.calls(words))
    except ValueError as error:
        what = f"`{shown(words)}` is no command that a shell could read: {error}"
        found.notes.append(Note(Fate.LOST, program.where, what, program.name))
        return []


def _step(words: Words, state: _State, beside: list[str]) -> None:
    """Follow a command that starts nothing of Celery's."""
    assigned = wrappers.assignments(words)
    if assigned:
        state.env.update(assigned)
    elif basename(words[0]) == "cd" and len(words) > 1:
        state.folder = words[1]
    elif _is_step(words):
        beside.append(shown(words))


#: what a name says of a program that may start workers
_TELLING = re.compile(r"celery|worker|(?<![a-z])beat", re.IGNORECASE)
#: what only watches workers
_WATCHES = re.compile(r"exporter|flower|insights|monitor", re.IGNORECASE)
_SCRIPT = re.compile(r".*\.(ba|z)?sh|.*\.py")
#: servers of the web, which a service called worker may run too
_SERVERS = frozenset(("apache2", "caddy", "daphne", "granian", "gunicorn", "hypercorn", "nginx", "uvicorn", "uwsgi"))


def unseen(program: Program, brokers: Iterable[str]) -> Note | None:
    """Say of a program that starts nothing known that it was not looked into, if its name or its script's tells so."""
    if any(_mentions(words) for words in program.commands):
        return None
    named = bool(_TELLING.search(program.name)) and not _WATCHES.search(program.name)
    named = named and not any(f"//{program.name}:" in url for url in brokers)
    if not program.commands:
        what = "it has no command here, and that of its image is not looked into"
        return Note(Fate.LOST, program.where, what, program.name) if named else None
    for words in program.commands:
        script = next((word for word in words if _SCRIPT.fullmatch(word) or (word is words[0] and "/" in word)), "")
        if script and basename(script) != "manage.py" and (named or _TELLING.search(basename(script))):
            what = f"`{script}` is not looked into; `celeryfleet import multi SCRIPT` reads a shell script"
            return Note(Fate.LOST, program.where, what, program.name)
    rest = [words for words in program.commands if _is_step(words) and basename(words[0]) not in _SERVERS]
    if not named or not rest:
        return None
    what = f"`{shown(rest[-1])}` is not looked into: whether it starts Celery is not known"
    return Note(Fate.LOST, program.where, what, program.name)


def _mentions(words: Words) -> bool:
    """Tell whether a command is one of Celery's, such as `celery inspect`."""
    try:
        return any(True for _ in wrappers.calls(words))
    except ValueError:
        return True  # which has been said already


def _is_step(words: Words) -> bool:
    """Tell whether a command does something worth telling."""
    head = basename(words[0])
    return not wrappers.assignments(words) and head != "cd" and head not in _QUIET and head not in wrappers.TALKERS


def shown(words: Words) -> str:
    """Write the start of a command: what comes after an option or an assignment may be a credential."""
    plain = tuple(takewhile(lambda word: "=" not in word and "://" not in word and word[0:1] != "-", words[:3]))
    return " ".join(plain) + ("" if len(plain) == len(words) else " …")


# --- Celery's commands ------------------------------------------------------------------------------------


def _take(call: Call, state: _State, program: Program, known: Mapping[str, str], found: Started) -> None:
    """Take one Celery command, and say what of it a fleet does not."""

    def note(fate: Fate, what: str) -> None:
        found.notes.append(Note(fate, program.where, what, program.name))

    if call.kind is Kind.OTHER or (call.kind is Kind.MULTI and not nodes.is_start(_own(call.args))):
        return
    if state.other:
        note(Fate.LOST, f"`celery {call.kind}` in the else of an if: what stands before the else is taken")
        return
    found.celery = True
    for fate, what in (*wrappers.said(call), *_around(call, state)):
        note(fate, what)
    match call.kind:
        case Kind.WORKER:
            words = program.name or "worker", call.args
            found.workers.append(_worker(*words, {**state.env, **call.env}, call, program, found))
        case Kind.MULTI:
            expanded = nodes.expand(_own(call.args)[1:], known)
            for doubt in expanded.doubts:
                note(Fate.CHANGED, doubt)
            ahead = call.args[: len(call.args) - len(_own(call.args))]
            for name, rest in expanded.nodes:
                found.workers.append(_worker(name, (*ahead, *rest), {**state.env, **call.env}, call, program, found))
        case _:
            note(Fate.LOST, _other(call, program, found))


def _around(call: Call, state: _State) -> Iterator[tuple[Fate, str]]:
    if call.joined:
        lines = listed(f"`{word}`" for word in call.joined)
        what = f"to the shell a new line is a new command, as at {lines}: they are taken as options, as was meant"
        yield Fate.CHANGED, what
    for file in call.files:
        yield Fate.NEEDLESS, f"`{file}`{options.LOGS}"
    if state.folder:
        what = f"it runs in {state.folder}: fleet.yaml belongs there, for the app is imported from there"
        yield Fate.CHANGED, what


def _other(call: Call, program: Program, found: Started) -> str:
    """Remember beat or Flower, and say what becomes of it."""
    said = options.parse(call.args).options
    if said.get("app"):
        found.apps.append(said["app"])
    if call.kind is Kind.FLOWER:
        return "`flower`: start it beside the fleet, and give the pools that it should show `events: true`"
    found.beats.append(f"{program.where} {program.name}".rstrip())
    # beat's -S is the scheduler, a worker's the state database
    scheduler = said.get("scheduler") or said.get("statedb")
    return f"`celery beat`{f' with the scheduler {scheduler}' if scheduler else ''}. {BEAT}"


#: what becomes of `celery beat` and -B
BEAT = (
    "A fleet's beat runs the schedule under `beat:` and no other: write the app's there, or run `celery beat` beside "
    "the fleet"
)


def _own(words: Words) -> Words:
    """Return the arguments of `celery multi` from its command on: global options may stand before it."""
    skip = False
    for index, word in enumerate(words):
        if skip:
            skip = False
        elif word in GLOBAL_VALUES:
            skip = True
        elif not word.startswith("-"):
            return words[index:]
    return ()


def _worker(name: str, words: Words, env: Mapping[str, str], call: Call, program: Program, found: Started) -> Worker:
    parsed = options.parse(words)
    said = {**_from_environment(env), **parsed.options}
    for what in _misread(parsed, said):
        found.notes.append(Note(Fate.LOST, program.where, what, name))
    if settings := said.pop("settings", ""):  # of manage.py
        env = {**env, "DJANGO_SETTINGS_MODULE": settings}
    app = said.pop("app", "") or env.get("APP", "") or env.get("CELERY_APP", "")
    django = any(basename(word) == "manage.py" for word in call.prefix)
    return Worker(name, program.where, app, said, env, program, django)


def _from_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Celery reads its options from the environment too: CELERY_WORKER_QUEUES, CELERY_BROKER_URL."""
    return {option: env[name] for name, option in options.FROM_ENVIRONMENT.items() if env.get(name)}


def _misread(parsed: options.Parsed, said: Mapping[str, str]) -> Iterator[str]:
    for word in parsed.unknown:
        yield f"`{_veiled(word)}` is no option of `celery worker`"
    for word in parsed.stray:
        yield f"`{_veiled(word)}` belongs to no option"
    if parsed.settings:
        shown = " ".join(map(_veiled, parsed.settings))
        yield f"`-- {shown}`: write settings under `celery:`, as in worker_prefetch_multiplier: 1"
    if said.get("optimization") == "fast":
        yield "`-O fast` is gone from Celery: every worker is fair"


def _veiled(word: str) -> str:
    """Hide a value that may be a credential."""
    name, sign, value = word.partition("=") if "=" in word else word.partition(" ")
    return f"{name}{sign}{MASK}" if "://" in word or (value and is_secret(name)) else word

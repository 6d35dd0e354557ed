"""A program of the file → the workers that it starts, and what of its command lines a fleet does not take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from posixpath import basename

from celeryfleet.importers import celery_options, wrappers
from celeryfleet.importers.found import FOLDER, Command, Fate, Note, Program, Words, Worker
from celeryfleet.importers.wrappers import Call
from celeryfleet.text import listed

#: what is to be said of a file that a worker logs to
LOGS = ": logs are in .celeryfleet/, and `celeryfleet logs` shows them"
#: what becomes of `celery beat` and -B
BEAT = (
    "A fleet's beat runs the schedule under `beat:` and no other: write the app's there, or run `celery beat` beside "
    "the fleet"
)
#: commands of a script that change nothing worth telling
_QUIET = re.compile(
    r"\.|:|\{|\}|break|case|cd|date|do|done|elif|else|esac|exit|fi|for|function|if|in|local|return|set|shift|sleep|source|"
    "tee|then|true|wait|while"
)


@dataclass(slots=True)
class Started:
    """What a program starts."""

    program: Program
    workers: list[Worker] = field(default_factory=list)
    #: apps that its other Celery commands name
    apps: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    #: where it starts beat
    beats: list[str] = field(default_factory=list)
    #: whether it starts anything of Celery's
    celery: bool = False


def started(program: Program, known: Mapping[str, str]) -> Started:
    """Find what a program starts; `known` are variables whose values are given."""
    script = _Script(Started(program), known, dict(program.env))
    for command in program.commands:
        script.run(command)
    found, beside = script.found, script.beside
    if found.celery and beside:
        names = ", ".join(f"`{text}`" for text in beside[:5]) + (", …" if len(beside) > 5 else "")
        found.notes.append(Note(Fate.LOST, program.where, f"beside it runs {names}", program.name))
    return found


@dataclass(slots=True)
class _Script:
    """A script of simple commands, followed as a shell would run it."""

    found: Started
    known: Mapping[str, str]
    env: dict[str, str]
    folder: str = ""
    #: of the command that this script is a word of
    prefix: Words = ()
    #: within the `else` of an `if` whose first branch started something
    otherwise: bool = False
    #: commands that start nothing of Celery's
    beside: list[str] = field(default_factory=list)

    def run(self, command: Command) -> None:
        """Follow one command."""
        words, where = command.words, command.where or self.found.program.where
        head = basename(words[0])
        if head in ("else", "elif", "fi"):
            self.otherwise = head != "fi" and self.found.celery
        try:
            if call := wrappers.call(words):
                self._take(replace(call, prefix=self.prefix + call.prefix), command, where)
            elif wrappers.mentions(words):
                for before, script in wrappers.scripts(words, where):
                    self._within(self.prefix + before, script, where)
            else:
                self._step(words)
        except ValueError as error:
            self._note(where, Fate.LOST, f"`{shown(words)}` is no command that a shell could read: {error}")

    def _within(self, prefix: Words, script: Iterable[Command], where: str) -> None:
        """Follow a script in a command; what it assigns ends with it."""
        inner = replace(self, env=self.env | wrappers.assigned(prefix), prefix=prefix)
        commands, joined = _joined(script)
        if joined:
            lines = listed(f"`{word}`" for word in joined)
            what = f"to the shell a new line is a new command, as at {lines}: they are taken as options, as was meant"
            self._note(where, Fate.CHANGED, what)
        for command in commands:
            inner.run(command)

    def _note(self, where: str, fate: Fate, what: str) -> None:
        self.found.notes.append(Note(fate, where, what, self.found.program.name))

    def _step(self, words: Words) -> None:
        """Follow a command that starts nothing of Celery's."""
        assigned = wrappers.assignments(words)
        if assigned:
            self.env.update(assigned)
        elif basename(words[0]) == "cd" and len(words) > 1:
            self.folder = words[1]
        elif _is_step(words):
            self.beside.append(shown(words))

    def _take(self, call: Call, command: Command, where: str) -> None:
        """Take one Celery command, and say what of it a fleet does not."""
        if call.name not in ("worker", "beat", "flower", "multi"):
            return
        if call.name == "multi" and not celery_options.starts(call.args):
            return
        if self.otherwise:
            what = f"`celery {call.name}` in the else of an if: what stands before the else is taken"
            self._note(where, Fate.LOST, what)
            return
        self.found.celery = True
        for fate, what in wrappers.said(call):
            self._note(where, fate, what)
        for file in command.files:
            self._note(where, Fate.NEEDLESS, f"`{file}`{LOGS}")
        if self.folder:
            self._note(where, Fate.CHANGED, f"it runs in {self.folder}: {FOLDER}")
        if call.name == "worker":
            self._worker(self.found.program.name or "worker", call.args, call, where)
        elif call.name == "multi":
            doubts: list[str] = []
            for name, rest in celery_options.nodes(call.args[1:], self.known, doubts):
                self._worker(name, rest, call, where)
            for doubt in doubts:
                self._note(where, Fate.CHANGED, doubt)
        else:
            self._note(where, Fate.LOST, self._other(call, where))

    def _other(self, call: Call, where: str) -> str:
        """Remember beat or Flower, and say what becomes of it."""
        options = celery_options.parse((*call.options, *call.args), "beat" if call.name == "beat" else "worker").options
        if options.get("app"):
            self.found.apps.append(options["app"])
        if call.name == "flower":
            return "`flower`: start it beside the fleet, and give the pools that it should show `events: true`"
        self.found.beats.append(f"{where} {self.found.program.name}".rstrip())
        scheduler = f" with the scheduler {options['scheduler']}" if options.get("scheduler") else ""
        return f"`celery beat`{scheduler}. {BEAT}"

    def _worker(self, name: str, words: Words, call: Call, where: str) -> None:
        env = {**self.env, **call.env}
        parsed = celery_options.parse((*call.options, *words))
        options = {**celery_options.from_environment(env), **parsed.options}
        self.found.notes += [Note(Fate.LOST, where, what, name) for what in parsed.problems]
        if settings := options.pop("settings", ""):  # of manage.py
            env["DJANGO_SETTINGS_MODULE"] = settings
        app = options.pop("app", "") or env.get("APP", "") or env.get("CELERY_APP", "")
        django = any(basename(word) == "manage.py" for word in call.prefix)
        self.found.workers.append(Worker(name, where, app, options, env, self.found.program, django))


def _joined(commands: Iterable[Command]) -> tuple[list[Command], Words]:
    """Give a command the options on the lines after it, and return those that began a line.

    The next line of `command: >`, which is indented, is a new line to the shell.
    """
    found: list[Command] = []
    joined: Words = ()
    for command in commands:
        if found and command.words[0].startswith("-"):
            found[-1] = replace(found[-1], words=found[-1].words + command.words)
            joined += command.words[:1]
        else:
            found.append(command)
    return found, joined


# --- What starts nothing that is known --------------------------------------------------------------------

#: what a name says of a program that may start workers
_TELLING = re.compile(r"celery|worker|(?<![a-z])beat", re.IGNORECASE)
#: what only watches workers
_WATCHES = re.compile(r"exporter|flower|insights|monitor", re.IGNORECASE)
_SCRIPT = re.compile(r".*\.(ba|z)?sh|.*\.py")
#: servers of the web, which a service called worker may run too
_SERVERS = frozenset(["apache2", "caddy", "daphne", "granian", "gunicorn", "hypercorn", "nginx", "uvicorn", "uwsgi"])


def unseen(program: Program, brokers: Iterable[str]) -> Note | None:
    """Say of a program that starts nothing known that it was not looked into, if its name or its script's tells so."""
    try:
        if any(wrappers.mentions(command.words) for command in program.commands):
            return None
    except ValueError:
        return None  # which was said already
    named = bool(_TELLING.search(program.name)) and not _WATCHES.search(program.name)
    named = named and not any(f"//{program.name}:" in url for url in brokers)
    what = ""
    if not program.commands and named:
        what = "it has no command here, and that of its image is not looked into"
    for words in (command.words for command in program.commands):
        script = next((word for word in words if _SCRIPT.fullmatch(word) or (word is words[0] and "/" in word)), "")
        if script and basename(script) != "manage.py" and (named or _TELLING.search(basename(script))):
            what = f"`{script}` is not looked into; `celeryfleet import multi SCRIPT` reads a shell script"
            break
        if named and _is_step(words) and basename(words[0]) not in _SERVERS:
            what = f"`{shown(words)}` is not looked into: whether it starts Celery is not known"
    return Note(Fate.LOST, program.where, what, program.name) if what else None


def _is_step(words: Words) -> bool:
    """Tell whether a command does something worth telling."""
    head = basename(words[0])
    return not wrappers.assignments(words) and not (_QUIET.fullmatch(head) or wrappers.TALKERS.fullmatch(head))


def shown(words: Words) -> str:
    """Write the start of a command: what comes after an option or an assignment may be a credential."""
    plain = tuple(takewhile(lambda word: "=" not in word and "://" not in word and word[0:1] != "-", words[:3]))
    return " ".join(plain) + ("" if len(plain) == len(words) else " …")

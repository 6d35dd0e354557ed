"""A program of the file → the workers that it starts, and what of its command lines a fleet does not take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import dropwhile, pairwise, takewhile
from posixpath import basename

from celeryfleet.importers import celery_options, wrappers
from celeryfleet.importers.environment import APP_VARIABLES, of_fleet
from celeryfleet.importers.expansion import Variables
from celeryfleet.importers.found import FOLDER, Beat, Call, Command, Fate, Note, Program, Words, Worker
from celeryfleet.importers.shell import Shell, Trace

#: what is to be said of a file that a worker logs to
LOGS = ": logs are in .celeryfleet/, and `celeryfleet logs` shows them"
#: commands of a script that change nothing worth telling
_QUIET = re.compile(r"date|nc|sleep|tee|umask|id|\(\(")


@dataclass(slots=True)
class Started:
    """What a program starts."""

    program: Program
    workers: list[Worker] = field(default_factory=list)
    #: apps that its other Celery commands name
    apps: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    #: commands that may start workers, which is not understood: each a place, its words and why
    unclear: list[Note] = field(default_factory=list)
    #: arguments that a script knows, of which it was given none
    choices: tuple[str, ...] = ()
    #: what its script set, and where
    values: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    exported: frozenset[str] = frozenset()
    #: whether it starts anything of Celery's
    celery: bool = False


def started(program: Program, known: Mapping[str, str], brokers: Iterable[str] = ()) -> Started:
    """Find what a program starts; `known` are variables whose values are given."""
    trace = Trace()
    values = Variables({**program.base, **program.env}, {**program.known, **known}, {*program.base, *program.env})
    shell = Shell(program.open, values, trace, program.where, program.name)
    found = Started(program, notes=trace.notes, places=trace.places)
    try:
        shell.begin(program.words)
    except ValueError as error:
        found.unclear.append(Note(Fate.LOST, program.where, f"no shell could read this: {error}", program.name))
    for written in values.taken:
        what = f"`{written}` is taken as its default: `--env-file` may tell another value"
        found.notes.append(Note(Fate.CHANGED, program.where, what, program.name))
    for command in trace.commands:
        if command.call is not None:
            _Taken(found, {**values.known}, command, command.call).take()
    found.choices, found.values, found.exported = tuple(values.choices), trace.values, frozenset(trace.exported)
    beside = [shown(command.words) for command in trace.commands if command.call is None and _is_step(command.words)]
    if found.celery and beside:
        names = ", ".join(f"`{text}`" for text in beside[:5]) + (", …" if len(beside) > 5 else "")
        found.notes.append(Note(Fate.LOST, program.where, f"beside it runs {names}", program.name))
    if not trace.celery and not found.unclear:
        _unseen(found, trace.commands, brokers)
    return found


@dataclass(slots=True)
class _Taken:
    """One Celery command, being taken."""

    found: Started
    known: Mapping[str, str]
    command: Command
    call: Call

    def take(self) -> None:
        """Take it, and say what of it a fleet does not."""
        call, where = self.call, self.command.where
        if not call.name:
            what = f"`{shown(self.command.words)} {call.args[0]}`: which command of Celery that is is not told"
            self.found.unclear.append(Note(Fate.LOST, where, what, self.found.program.name))
        if call.name not in ("worker", "beat", "flower", "multi"):
            return
        if giver := next((word for word in call.prefix if basename(word) in ("xargs", "parallel")), ""):
            what = f"`{shown(self.command.words)}`: how often {giver} starts it, and with which words, is not told"
            self.found.unclear.append(Note(Fate.LOST, where, what, self.found.program.name))
            return
        if call.name == "multi" and not celery_options.starts(call.args):
            return
        self.found.celery = True
        for fate, what in wrappers.said(call):
            self._note(fate, what)
        for file in self.command.files:
            self._note(Fate.NEEDLESS, f"`{file}`{LOGS}")
        if self.command.folder:
            self._note(Fate.CHANGED, f"it runs in {self.command.folder}: {FOLDER}")
        if call.name == "worker":
            self._worker(self.found.program.name or "worker", call.args)
        elif call.name == "multi":
            self._multi()
        else:
            self._other()

    def _note(self, fate: Fate, what: str) -> None:
        self.found.notes.append(Note(fate, self.command.where, what, self.found.program.name))

    def _multi(self) -> None:
        doubts: list[str] = []
        nodes = celery_options.nodes(self.call.args[1:], self.known, doubts)
        for name, rest in nodes:
            self._worker(name, rest)
        for doubt in doubts:
            self._note(Fate.CHANGED, doubt)
        if not nodes:
            self.found.unclear.append(Note(Fate.LOST, self.command.where, doubts[-1], self.found.program.name))

    def _other(self) -> None:
        """Remember beat or Flower."""
        call = self.call
        parsed = celery_options.parse((*call.options, *call.args), "beat" if call.name == "beat" else "worker")
        app = parsed.options.get("app", "")
        if app:
            self.found.apps.append(app)
        if call.name == "flower":
            self._note(Fate.LOST, "`flower`: start it beside the fleet, with `events: true` at the top of fleet.yaml")
        else:
            self._beat(parsed.options, app)

    def _beat(self, options: Mapping[str, str], app: str) -> None:
        where = f"{self.command.where} {self.found.program.name}".rstrip()
        self.found.beats.append(Beat(where, options.get("scheduler", ""), options.get("max_interval", ""), app))

    def _worker(self, name: str, words: Words) -> None:
        call, where, program = self.call, self.command.where, self.found.program
        env = {**self.command.env, **wrappers.assigned(call.prefix)}
        parsed = celery_options.parse((*call.options, *words))
        options = {**celery_options.from_environment(env), **parsed.options}
        self.found.notes += [Note(Fate.LOST, where, what, name) for what in parsed.problems]
        if settings := options.pop("settings", ""):  # of manage.py
            env["DJANGO_SETTINGS_MODULE"] = settings
        app = options.pop("app", "") or next((env[key] for key in APP_VARIABLES if env.get(key)), "")
        if "beat" in options:
            self._beat(options, app)
        own = {key: value for key, value in env.items() if program.base.get(key) != value or of_fleet(key)}
        django = any(basename(word) in ("manage.py", "django-admin") for word in call.prefix)
        self.found.workers.append(Worker(name, where, app, options, own, program, self.known, django))


# --- What starts nothing that is known --------------------------------------------------------------------

#: what a name says of a program that may start workers
_TELLING = re.compile(r"celery|worker|(?<![a-z])beat", re.IGNORECASE)
#: what only watches workers
_WATCHES = re.compile(r"exporter|flower|insights|monitor|watch", re.IGNORECASE)
_SCRIPT = re.compile(r".*\.(ba|z)?sh|.*\.py")
#: servers of the web, which a service called worker may run too, and what runs other queues than Celery's
_OTHERS = re.compile(
    r"apache2|caddy|daphne|granian|gunicorn|hypercorn|nginx|uvicorn|uwsgi|httpd|runserver|node|npm|yarn|pnpm|"
    r"rq|rqworker|dramatiq|huey|run_huey|arq|qcluster|procrastinate|taskiq|faktory|sidekiq|bundle|rake|java|go"
)


def _unseen(found: Started, commands: Iterable[Command], brokers: Iterable[str]) -> None:
    """Say what of a program that starts nothing known was not looked into, which is unclear if a name tells so."""
    program = found.program
    named = _tells(program.name) and not any(f"//{program.name}:" in url for url in brokers)
    what, said = "", found.unclear
    if not program.words and named:
        what = "it has no command here, and that of its image is not known"
    for words in (command.words for command in commands):
        if any(_OTHERS.fullmatch(basename(word)) for word in words) or not _is_step(words):
            continue
        if (lister := basename(words[0])) in _LISTERS and (file := _listed(program, words)):
            what = f"`{lister}` starts what {file} lists: `celeryfleet import {_LISTERS[lister]} {file}` reads it"
            break
        script = next((word for word in words if _SCRIPT.fullmatch(word) or (word is words[0] and "/" in word)), "")
        telling = named or _TELLING.search(basename(script))
        if (
            script
            and basename(script) != "manage.py"
            and (telling or (script.endswith("sh") and not wrappers.waits(basename(script))))
        ):
            what, said = (
                f"`{shown(words)}`: the script {script} is not found here",
                found.unclear if telling else found.notes,
            )
            break
        if _hidden(words):
            what = f"`{shown(words)}`: what it starts is not looked into"
            break
        if named:
            what = f"`{shown(words)}`: whether it starts Celery is not known"
    if what:
        said.append(Note(Fate.LOST, program.where, what, program.name))


#: programs that start what a file of theirs has under a name
_RUNNERS = re.compile(r"make|just|task|invoke|inv")


def _hidden(words: Words) -> bool:
    """Tell whether a command starts a module, code, a command of Django's or a target that speaks of workers."""
    if _RUNNERS.fullmatch(basename(words[0])):
        return any(map(_tells, words[1:]))
    for before, word in pairwise(words):
        django = basename(before) in ("manage.py", "django-admin") and "celery" in word
        if (django or (before == "-m" and wrappers.is_python(words[0]))) and _tells(word):
            return True
    return "-c" in words and wrappers.is_python(words[0]) and any("worker_main" in word for word in words)


def _tells(name: str) -> bool:
    return bool(_TELLING.search(name)) and not _WATCHES.search(name)


#: programs that start what a file lists → how that file is imported
_LISTERS = {"supervisord": "supervisord", "honcho": "procfile", "foreman": "procfile"}


def _listed(program: Program, words: Words) -> str:
    """Return the file by which a program starts others, Celery among them; empty: none that is here."""
    found = filter(None, map(program.open, (word for word in words[1:] if word[:1] != "-")))
    return next((shown for shown, text in found if "celery" in text.lower()), "")


def _is_step(words: Words) -> bool:
    """Tell whether a command does something worth telling."""
    return not (_QUIET.fullmatch(basename(words[0])) or wrappers.talks(words[0]))


def shown(words: Words) -> str:
    """Write the start of a command: what comes after an option or an assignment may be a credential."""
    words = tuple(dropwhile(lambda word: wrappers.assigned((word,)), words))
    plain = takewhile(
        lambda word: "=" not in word and "://" not in word and (word[0:1] != "-" or word == "-m"), words[:4]
    )
    start = list(plain)
    return " ".join(start if len(start) == len(words) else [*start, "…"])

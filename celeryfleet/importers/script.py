"""`celery multi` in a shell script, in /etc/default/celeryd or in a systemd unit → the programs that it starts.

Plain `celery worker` lines of a script are found alike.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from celeryfleet.importers import shell, variables, wrappers
from celeryfleet.importers.found import FOLDER, USER, Command, Fate, Note, Program, Reading, leftovers
from celeryfleet.importers.workers import BEAT

_UNIT = re.compile(r"\s*ExecStart\s*=\s*[-@:+!]*(.*)", re.DOTALL)
#: what looks like a unit's key but is a variable of a script
_ASSIGNED = re.compile(r"\s*[A-Z]+=")
_ENVIRONMENT = re.compile(r"\s*Environment\s*=\s*(.*)", re.DOTALL)
_OTHER_KEY = re.compile(r"\s*(?:\[|([A-Z][A-Za-z]+)\s*=\s*)(.*)", re.DOTALL)
#: keys of a systemd unit and variables of the init script
_SAYINGS = {
    "EnvironmentFile": ("", "`celeryfleet --env-file FILE import multi …` reads what it sets"),
    **dict.fromkeys(("User", "CELERYD_USER", "CELERYD_GROUP"), ("", USER)),
    **dict.fromkeys(("WorkingDirectory", "CELERYD_CHDIR"), ("", FOLDER)),
}
#: variables of the init script: those whose line is that of the command, the first that there is…
_TELLING = ("CELERYD_NODES", "CELERYD_OPTS", "CELERY_APP")
#: …and those that say what a worker leaves behind
_FILES = ("CELERYD_LOG_FILE", "CELERYD_PID_FILE", "CELERY_CREATE_DIRS", "CELERYD_PID_DIR", "CELERYD_LOG_DIR")


@dataclass(slots=True)
class _Script:
    """A script, being read."""

    file: str
    #: what it assigns, in order, and where
    values: dict[str, str]
    places: dict[str, str] = field(default_factory=dict)
    #: which of them it exports
    exported: set[str] = field(default_factory=set)
    notes: list[Note] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)

    def line(self, line: str, where: str) -> None:
        """Take a logical line of a script or a unit."""
        unit, environment = _UNIT.fullmatch(line), _ENVIRONMENT.fullmatch(line)
        other = None if unit or environment or _ASSIGNED.match(line) else _OTHER_KEY.fullmatch(line)
        if other:
            self.notes += leftovers([(other[1], other[2].strip(), where)], _SAYINGS, "=", "")
            return
        text = unit[1] if unit else f"export {environment[1]}" if environment else line
        try:
            commands = shell.line_commands(variables.filled(variables.normal(text), self.values), where)
        except ValueError as error:
            self.notes.append(Note(Fate.LOST, where, f"no shell could read this: {error}"))
            return
        for command in commands:
            assigned = wrappers.assignments(command.words)
            self.values |= {name: variables.normal(value) for name, value in assigned.items()}
            self.places |= dict.fromkeys(assigned, where)
            if command.words[0] == "export":
                self.exported.update(assigned or command.words[1:])
            elif not assigned:
                self.commands.append(command)

    def program(self) -> Program | None:
        """Return what it starts: its own commands, or what the init script makes of its variables."""
        env = {name: value for name, value in self.values.items() if name in self.exported}
        if any(map(_mentions, self.commands)):
            return Program("", self.file, tuple(self.commands), env)
        return self._init_script(env) if any(name.startswith("CELERYD_") for name in self.places) else None

    def _init_script(self, env: Mapping[str, str]) -> Program:
        """Write the command that the init script of Celery's documentation makes of these variables."""
        values = self.values
        words = ["manage.py"] if "manage.py" in values.get("CELERYD_MULTI", "") else []
        words += ["celery", "multi", "start", *_split(values.get("CELERYD_NODES") or "celery")]
        for variable, option in (("CELERY_APP", "--app"), ("CELERYD_LOG_LEVEL", "--loglevel")):
            words += [f"{option}={values[variable]}"] if values.get(variable) else []
        words += _split(values.get("CELERYD_OPTS", ""))
        config = {name: values[name] for name in ("CELERY_CONFIG_MODULE",) if values.get(name)}
        where = next((self.places[name] for name in _TELLING if name in self.places), self.file)
        command = Command(tuple(words), (), where)
        return Program("", where, (command,), {**env, **config}, leftovers=tuple(self._leftovers()))

    def _leftovers(self) -> Iterator[Note]:
        yield from leftovers(((name, self.values[name], self.places[name]) for name in self.places), _SAYINGS, "=", "")
        for name in (name for name in _FILES if name in self.places):
            yield Note(Fate.NEEDLESS, self.places[name], f"`{name}`: a fleet keeps its files in .celeryfleet/")


def read(source: str, file: str, known: Mapping[str, str]) -> Reading:
    """Read a script; `known` are variables that it takes from elsewhere."""
    script = _Script(file, {"CELERY_BIN": "celery", **known})
    for number, line in shell.logical_lines(source):
        script.line(line, f"{file}:{number}")
    program = script.program()
    beat = next((place for name, place in script.places.items() if name.startswith("CELERYBEAT_")), None)
    if beat is not None:
        script.notes.append(Note(Fate.LOST, beat, f"CELERYBEAT_…: {BEAT[0].lower()}{BEAT[1:]}"))
    return Reading(() if program is None else (program,), tuple(script.notes))


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _mentions(command: Command) -> bool:
    try:
        return wrappers.mentions(command.words)
    except ValueError:
        return True  # which will be said

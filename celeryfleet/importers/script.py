"""`celery multi` in a shell script, in /etc/default/celeryd or in a systemd unit → the programs that it starts.

Plain `celery worker` lines of a script are found alike.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from celeryfleet.importers import shell, variables, wrappers
from celeryfleet.importers.found import Command, Fate, Note, Program, Reading
from celeryfleet.importers.workers import BEAT, mentions

_UNIT = re.compile(r"\s*ExecStart\s*=\s*[-@:+!]*(.*)", re.DOTALL)
_TOLD = re.compile(r"\s*(EnvironmentFile|User|WorkingDirectory)\s*=\s*(.+)")
#: what looks like a unit's key but is a variable of a script
_ASSIGNED = re.compile(r"\s*[A-Z]+=")
_ENVIRONMENT = re.compile(r"\s*Environment\s*=\s*(.*)", re.DOTALL)
_IGNORED_UNIT = re.compile(r"\s*(?:\[|Exec[A-Z]\w*\s*=|[A-Z][A-Za-z]+\s*=)")
#: keys of a systemd unit → what is to be said of them
_OF_THE_UNIT = {
    "EnvironmentFile": "`celeryfleet --env-file {} import multi …` reads what it sets",
    "User": "the fleet runs as the user who starts it",
    "WorkingDirectory": "fleet.yaml belongs there, for the app is imported from there",
}


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
        if unit is None and environment is None and _IGNORED_UNIT.match(line) and not _ASSIGNED.match(line):
            if match := _TOLD.match(line):
                what = _OF_THE_UNIT[match[1]].format(match[2].strip().removeprefix("-"))
                self.notes.append(Note(Fate.LOST, where, f"`{match[1]}={match[2].strip()}`: {what}"))
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
        if any(map(mentions, self.commands)):
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
        for names, fate, what in _OF_THE_INIT_SCRIPT:
            for name in (name for name in names.split() if name in self.places):
                yield Note(fate, self.places[name], what.format(name=name, value=self.values[name]))


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


#: variables whose line is that of the command, the first that there is
_TELLING = ("CELERYD_NODES", "CELERYD_OPTS", "CELERY_APP")
#: variables of the init script that say what a worker runs in and leaves behind, and what is to be said of them
_OF_THE_INIT_SCRIPT = (
    (
        "CELERYD_CHDIR",
        Fate.LOST,
        "`{name}={value}`: fleet.yaml belongs there, for the app is imported from there",
    ),
    ("CELERYD_USER CELERYD_GROUP", Fate.LOST, "`{name}={value}`: the fleet runs as the user who starts it"),
    (
        "CELERYD_LOG_FILE CELERYD_PID_FILE CELERY_CREATE_DIRS CELERYD_PID_DIR CELERYD_LOG_DIR",
        Fate.NEEDLESS,
        "`{name}`: a fleet keeps its files in .celeryfleet/",
    ),
)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()

"""`celery multi` in a shell script, in /etc/default/celeryd or in a systemd unit → the programs that it starts.

Plain `celery worker` lines of a script are found alike.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from celeryfleet.importers import shell, variables, wrappers
from celeryfleet.importers.command import BEAT
from celeryfleet.importers.found import Fate, Note, Program, Reading, Words

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
#: variables of the init script that say what a worker runs in and leaves behind
_FOLDER, _USER = "CELERYD_CHDIR", ("CELERYD_USER", "CELERYD_GROUP")


@dataclass(slots=True)
class _Script:
    """A script, being read."""

    file: str
    #: what it assigns, in order
    values: dict[str, str] = field(default_factory=dict)
    #: which of them it exports
    exported: set[str] = field(default_factory=set)
    places: dict[str, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    #: each command with its line
    commands: list[tuple[str, Words]] = field(default_factory=list)


def read(source: str, file: str, known: Mapping[str, str] | None = None) -> Reading:
    """Read a script; `known` are variables that it takes from elsewhere."""
    script = _Script(file, {"CELERY_BIN": "celery", **(known or {})})
    for number, line in shell.logical_lines(source):
        _line(script, line, f"{file}:{number}")
    env = {name: script.values[name] for name in script.values if name in script.exported}
    places, commands = tuple(place for place, _ in script.commands), tuple(words for _, words in script.commands)
    programs = [Program("", file, commands, env, places=places)] if any(map(_matters, commands)) else []
    if any(name.startswith("CELERYD_") for name in script.places) and not programs:
        programs = [_init_script(script, env)]
    if any(name.startswith("CELERYBEAT_") for name in script.places):
        where = next(place for name, place in script.places.items() if name.startswith("CELERYBEAT_"))
        script.notes.append(Note(Fate.LOST, where, f"CELERYBEAT_…: {BEAT[0].lower()}{BEAT[1:]}"))
    return Reading(tuple(programs), tuple(script.notes))


def _line(script: _Script, line: str, where: str) -> None:
    unit, environment = _UNIT.fullmatch(line), _ENVIRONMENT.fullmatch(line)
    if unit is None and environment is None and _IGNORED_UNIT.match(line) and not _ASSIGNED.match(line):
        if match := _TOLD.match(line):
            what = _OF_THE_UNIT[match[1]].format(match[2].strip().removeprefix("-"))
            script.notes.append(Note(Fate.LOST, where, f"`{match[1]}={match[2].strip()}`: {what}"))
        return
    text = unit[1] if unit else f"export {environment[1]}" if environment else line
    text = variables.filled(variables.normal(text), script.values)
    try:
        commands = shell.line_commands(text)
    except ValueError as error:
        script.notes.append(Note(Fate.LOST, where, f"no shell could read this: {error}"))
        return
    for words in commands:
        assigned = wrappers.assignments(words)
        for name, value in assigned.items():
            script.values[name] = variables.normal(value)
            script.places[name] = where
        if words[0] == "export":
            script.exported.update(assigned or words[1:])
        elif not assigned:
            script.commands.append((where, words))


def _matters(words: Words) -> bool:
    try:
        return any(True for _ in wrappers.calls(words))
    except ValueError:
        return False


def _init_script(script: _Script, env: Mapping[str, str]) -> Program:
    """Write the command that the init script of Celery's documentation makes of its variables."""
    values = script.values
    words = ["celery", "multi", "start", *_split(values.get("CELERYD_NODES") or "celery")]
    for variable, option in (("CELERY_APP", "--app"), ("CELERYD_LOG_LEVEL", "--loglevel")):
        words += [f"{option}={values[variable]}"] if values.get(variable) else []
    words += _split(values.get("CELERYD_OPTS", ""))
    whole = {**env, **_config(values)}
    where = next((script.places[name] for name in _TELLING if name in script.places), script.file)
    program = Program("", where, (tuple(words),), whole, leftovers=tuple(_leftovers(script)))
    if "manage.py" in values.get("CELERYD_MULTI", ""):
        return Program(program.name, where, (("manage.py", *words),), whole, leftovers=program.leftovers)
    return program


#: variables whose line is that of the command, the first that there is
_TELLING = ("CELERYD_NODES", "CELERYD_OPTS", "CELERY_APP")


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _config(values: Mapping[str, str]) -> dict[str, str]:
    return {name: values[name] for name in ("CELERY_CONFIG_MODULE",) if values.get(name)}


def _leftovers(script: _Script) -> Iterator[Note]:
    for name in (_FOLDER, *_USER):
        if name in script.places:
            what = "fleet.yaml belongs there, for the app is imported from there"
            if name in _USER:
                what = "the fleet runs as the user who starts it"
            yield Note(Fate.LOST, script.places[name], f"`{name}={script.values[name]}`: {what}")
    for name in ("CELERYD_LOG_FILE", "CELERYD_PID_FILE", "CELERY_CREATE_DIRS", "CELERYD_PID_DIR", "CELERYD_LOG_DIR"):
        if name in script.places:
            yield Note(Fate.NEEDLESS, script.places[name], f"`{name}`: a fleet keeps its files in .celeryfleet/")

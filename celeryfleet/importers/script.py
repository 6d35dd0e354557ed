"""A shell script, or /etc/default/celeryd → the programs that it starts.

A script that starts what its first argument names is followed once for each argument that it knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from posixpath import basename

from celeryfleet.errors import FleetError
from celeryfleet.importers.expansion import UNTOLD, split
from celeryfleet.importers.found import FOLDER, USER, Fate, Note, Program, Reading, Words, leftovers
from celeryfleet.importers.repository import Read, Repository
from celeryfleet.importers.workers import Started, started

#: lines of a script
_MOST = 5000
#: arguments, one after the other, and choices of all of them
_DEEPEST, _MOST_CHOICES = 3, 100
#: variables of the init script
_SAYINGS = {
    **dict.fromkeys(("CELERYD_USER", "CELERYD_GROUP"), ("", USER)),
    "CELERYD_CHDIR": ("", FOLDER),
}
#: those whose line is that of the command, the first that there is…
_TELLING = ("CELERYD_NODES", "CELERYD_OPTS", "CELERY_APP")
#: …and those that say what a worker leaves behind
_FILES = ("CELERYD_LOG_FILE", "CELERYD_PID_FILE", "CELERY_CREATE_DIRS", "CELERYD_PID_DIR", "CELERYD_LOG_DIR")


def read(source: str, file: str, known: Mapping[str, str], read: Read) -> Reading:
    """Read a script; `known` are variables that it takes from elsewhere. Raises FleetError."""
    if source.count("\n") > _MOST:
        raise FleetError(f"the script is longer than {_MOST:,} lines.", file, "Is it the right file?")
    repository = Repository(read)

    def open_(path: str) -> tuple[str, str] | None:
        return (file, source) if path == file else repository.open(path)

    whole = Program("", file, ("sh", file), base={"CELERY_BIN": "celery", **known}, open=open_)
    programs = list(_by_argument(whole, ()))
    found = started(whole, {})
    if not found.celery and not programs and any(name.startswith("CELERYD_") for name in found.places):
        programs = [_init_script(found)]
    beat = next((place for name, place in found.places.items() if name.startswith("CELERYBEAT_")), None)
    notes = []
    if beat is not None:
        notes = [Note(Fate.CHANGED, beat, "CELERYBEAT_…: `beat: {}` in fleet.yaml runs the app's schedule")]
    return Reading(tuple(programs or [whole]), tuple(notes))


def _by_argument(program: Program, args: Words) -> Iterator[Program]:
    """Make a program of each argument with which a script starts something of Celery's."""
    found = started(program, {})
    if found.celery or len(args) >= _DEEPEST:
        if args:
            yield program
        return
    choices = found.choices or started(replace(program, words=(*program.words, UNTOLD)), {}).choices
    for choice in choices[:_MOST_CHOICES]:
        words = (*args, choice)
        yield from _by_argument(replace(program, name=choice, words=(*program.words[:2], *words)), words)


def _init_script(found: Started) -> Program:
    """Write the command that the init script of Celery's documentation makes of these variables."""
    values, places = found.values, found.places
    words = ["manage.py"] if "manage.py" in values.get("CELERYD_MULTI", "") else []
    binary = values.get("CELERY_BIN") or "celery"
    words += [binary if basename(binary) == "celery" else "celery", "multi", "start"]
    words += split(values.get("CELERYD_NODES") or "celery")
    for variable, option in (("CELERY_APP", "--app"), ("CELERYD_LOG_LEVEL", "--loglevel")):
        words += [f"{option}={values[variable]}"] if values.get(variable) else []
    words += split(values.get("CELERYD_OPTS", ""))
    where = next((places[name] for name in _TELLING if name in places), found.program.where)
    said = tuple(_leftovers(values, places))
    env = {name: values[name] for name in found.exported if name in values}
    if values.get("CELERY_CONFIG_MODULE"):
        env["CELERY_CONFIG_MODULE"] = values["CELERY_CONFIG_MODULE"]
    return Program("", where, tuple(words), env, leftovers=said)


def _leftovers(values: Mapping[str, str], places: Mapping[str, str]) -> Iterator[Note]:
    yield from leftovers(((name, values[name], places[name]) for name in places if name in values), _SAYINGS, "=", "")
    for name in (name for name in _FILES if name in places):
        yield Note(Fate.NEEDLESS, places[name], f"`{name}`: a fleet keeps its files in .celeryfleet/")

"""A Procfile → the programs of its lines."""

from __future__ import annotations

import re

from celeryfleet.importers import shell, variables
from celeryfleet.importers.found import Fate, Note, Program, Reading, Words

_LINE = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*:\s*(.*)")


def read(source: str, file: str) -> Reading:
    """Read a Procfile: `name: command`, comments and empty lines."""
    programs: list[Program] = []
    notes: list[Note] = []
    for number, line in enumerate(source.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{file}:{number}"
        match = _LINE.fullmatch(line)
        if match is None:
            notes.append(Note(Fate.LOST, where, "this line is not `name: command`"))
            continue
        words = _words(match[2], where, notes)
        if match[1] in (program.name for program in programs):
            notes.append(Note(Fate.CHANGED, where, f"{match[1]} is named twice: both are read"))
        programs.append(Program(match[1], where, words))
    return Reading(tuple(programs), tuple(notes))


def _words(command: str, where: str, notes: list[Note]) -> tuple[Words, ...]:
    try:
        return tuple(shell.commands(variables.normal(command)))
    except ValueError as error:
        notes.append(Note(Fate.LOST, where, f"no shell could read this: {error}"))
        return ()

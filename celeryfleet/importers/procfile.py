"""A Procfile → the programs of its lines, by honcho's rule."""

from __future__ import annotations

import re

from celeryfleet.importers.found import Fate, Note, Program, Reading
from celeryfleet.importers.repository import Read, Repository

#: honcho's, and dots in a name besides
_LINE = re.compile(r"([A-Za-z0-9_.-]+)\s*:\s*(.+)")


def read(source: str, file: str, read: Read) -> Reading:
    """Read a Procfile: `name: command`, comments and empty lines."""
    programs: list[Program] = []
    notes: list[Note] = []
    named: set[str] = set()
    repository = Repository(read)
    for number, line in enumerate(map(str.strip, source.splitlines()), 1):
        where, match = f"{file}:{number}", _LINE.fullmatch(line)
        if match is None and line and not line.startswith("#"):
            notes.append(Note(Fate.LOST, where, "this line is not `name: command`"))
        if match is None or line.startswith("#"):
            continue
        if match[1] in named:
            notes.append(Note(Fate.CHANGED, where, f"{match[1]} is named twice: both are read"))
        named.add(match[1])
        programs.append(Program(match[1], where, ("sh", "-c", match[2]), open=repository.open))
    return Reading(tuple(programs), tuple(notes))

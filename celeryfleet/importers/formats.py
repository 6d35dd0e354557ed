"""The formats that can be read, each by a module of its own, and the way from a file's text to a fleet.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.parser import parse_yaml
from celeryfleet.fleetfile.tree import MappingNode, child
from celeryfleet.importers import compose, procfile, script, supervisord
from celeryfleet.importers.document import Ask, Result, fleet
from celeryfleet.importers.found import Reading

_PROGRAM = re.compile(r"^\[program:", re.MULTILINE)
#: name → reads (text, file, variables that are given)
FORMATS: Mapping[str, Callable[[str, str, Mapping[str, str]], Reading]] = {
    "compose": lambda text, file, known: compose.read(text, file),
    "procfile": lambda text, file, known: procfile.read(text, file),
    "supervisord": lambda text, file, known: supervisord.read(text, file),
    "multi": script.read,
}


def convert(text: str, ask: Ask) -> Result:
    """Make a fleet.yaml of a file's text. Raises FleetError, which names the right format if it is another."""
    plain = _plain_format(text, ask.file)
    if plain not in ("", ask.format):
        raise FleetError(f"this is a {plain} file.", ask.file, _by(plain, ask.file))
    try:
        return _converted(text, ask)
    except FleetError as error:
        what = error.problems[0].what
        # nothing could be made of the file, rather than something being wrong in it
        at_all = any(word in what for word in ("this is no", "no Celery worker", "the file must"))
        other = next((name for name in FORMATS if at_all and name != ask.format and _fits(name, text, ask)), None)
        if other is None:
            raise
        raise FleetError(what, ask.file, _by(other, ask.file)) from None


def _converted(text: str, ask: Ask) -> Result:
    return fleet(FORMATS[ask.format](text, ask.file, ask.known), ask)


def _plain_format(text: str, file: str) -> str:
    """Name the format of a file that can be no other; empty: it may be any."""
    if _PROGRAM.search(text):
        return "supervisord"
    root, problems = parse_yaml(text, file)
    return "compose" if not problems and isinstance(child(root, "services"), MappingNode) else ""


def _by(name: str, file: str) -> str:
    return f"It is read by `celeryfleet import {name} {file}`."


def _fits(name: str, text: str, ask: Ask) -> bool:
    try:
        _converted(text, replace(ask, format=name))
    except FleetError:
        return False
    return True

"""The formats that can be read, each by a module of its own, and the way from a file's text to a fleet.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.parser import parse_yaml
from celeryfleet.fleetfile.tree import MappingNode, child
from celeryfleet.importers import compose, k8s, procfile, script, supervisord, systemd
from celeryfleet.importers.document import Ask, Result, fleet
from celeryfleet.importers.found import Reading

#: what is said where nothing could be made of a file
_NOTHING = ("this is no", "no Celery worker", "the file must")
#: what a file of a format must have in it, where it can be no other
_PLAIN = {
    "supervisord": (re.compile(r"^\[program:", re.MULTILINE),),
    "systemd": (re.compile(r"^\[Service\]", re.MULTILINE),),
    "k8s": (re.compile(r"^apiVersion:", re.MULTILINE), re.compile(r"^kind:", re.MULTILINE)),
}
Texts = Mapping[str, str]


def _each(read: Callable[[str, str, Ask], Reading]) -> Callable[[Texts, Ask], Reading]:
    """Read files one by one, and put together what they say."""

    def read_all(texts: Texts, ask: Ask) -> Reading:
        readings = [read(text, file, ask) for file, text in texts.items()]
        programs = tuple(program for reading in readings for program in reading.programs)
        return Reading(programs, tuple(note for reading in readings for note in reading.notes))

    return read_all


#: name → reads files, by their names
FORMATS: Mapping[str, Callable[[Texts, Ask], Reading]] = {
    "compose": lambda texts, ask: compose.read(texts, ask.known, ask.read),
    "procfile": _each(lambda text, file, ask: procfile.read(text, file, ask.read)),
    "supervisord": _each(lambda text, file, ask: supervisord.read(text, file, ask.read)),
    "multi": _each(lambda text, file, ask: script.read(text, file, ask.known, ask.read)),
    "systemd": _each(lambda text, file, ask: systemd.read(text, file, ask.known, ask.read)),
    "k8s": lambda texts, ask: k8s.read(texts, ask.read),
}


def convert(text: str, ask: Ask) -> Result:
    """Make a fleet.yaml of a file's text. Raises FleetError, which names the right format if it is another."""
    return convert_all({ask.file: text}, ask)


def convert_all(texts: Texts, ask: Ask) -> Result:
    """Make one fleet.yaml of several files' texts. Raises FleetError."""
    for file, text in texts.items():
        plain = _plain_format(text, file)
        if plain not in ("", ask.format):
            raise FleetError(f"this is a {plain} file.", file, _by(plain, file))
    try:
        return _converted(texts, ask)
    except FleetError as error:
        what = error.problems[0].what
        # nothing could be made of the file, rather than something being wrong in it
        at_all = any(word in what for word in _NOTHING) and any("celery" in text.lower() for text in texts.values())
        other = next((name for name in FORMATS if at_all and name != ask.format and _fits(name, texts, ask)), None)
        if other is None:
            raise
        raise FleetError(what, ask.file, _by(other, ask.file)) from None


def _converted(texts: Texts, ask: Ask) -> Result:
    return fleet(FORMATS[ask.format](texts, ask), ask)


def _plain_format(text: str, file: str) -> str:
    """Name the format of a file that can be no other; empty: it may be any."""
    plain = next((name for name, patterns in _PLAIN.items() if all(one.search(text) for one in patterns)), "")
    if plain:
        return plain
    root, problems = parse_yaml(text, file)
    return "compose" if not problems and isinstance(child(root, "services"), MappingNode) else ""


def _by(name: str, file: str) -> str:
    return f"It is read by `celeryfleet import {name} {file}`."


def _fits(name: str, texts: Texts, ask: Ask) -> bool:
    try:
        _converted(texts, replace(ask, format=name))
    except FleetError:
        return False
    return True

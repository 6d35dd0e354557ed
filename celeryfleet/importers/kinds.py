"""The kinds of files that can be read, and the way from a file's text to a fleet.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.merge import compose as yaml_compose
from celeryfleet.fleetfile.tree import Block, child
from celeryfleet.importers import compose, multi, procfile, supervisord
from celeryfleet.importers.fleet import Ask, Result, fleet
from celeryfleet.importers.found import Reading

_PROGRAM = re.compile(r"^\[program:", re.MULTILINE)
#: kind → reads (text, file, variables that are given)
_READERS: Mapping[str, Callable[[str, str, Mapping[str, str]], Reading]] = {
    "compose": lambda text, file, known: compose.read(text, file),
    "procfile": lambda text, file, known: procfile.read(text, file),
    "supervisord": lambda text, file, known: supervisord.read(text, file),
    "multi": multi.read,
}


def made(text: str, ask: Ask) -> Result:
    """Make a fleet.yaml of a file's text. Raises FleetError, which names the right kind if it is another."""
    kind = _plain_kind(text, ask.file)
    if kind not in ("", ask.kind):
        raise FleetError(f"this is a {kind} file.", ask.file, _by(kind, ask.file))
    try:
        return fleet(_READERS[ask.kind](text, ask.file, ask.known), ask)
    except FleetError as error:
        other = next((kind for kind in _READERS if kind != ask.kind and _fits(kind, text, ask)), None)
        if other is None or not _at_all(error):
            raise
        what = error.problems[0].what
        raise FleetError(what, ask.file, _by(other, ask.file)) from None


def _plain_kind(text: str, file: str) -> str:
    """Name the kind of a file that can be no other; empty: it may be any."""
    if _PROGRAM.search(text):
        return "supervisord"
    root, problems = yaml_compose(text, file)
    return "compose" if not problems and isinstance(child(root, "services"), Block) else ""


def _by(kind: str, file: str) -> str:
    return f"It is read by `celeryfleet import {kind} {file}`."


def _at_all(error: FleetError) -> bool:
    """Tell whether nothing could be made of the file, rather than something wrong in it."""
    return any(word in error.problems[0].what for word in ("this is no", "no Celery worker", "the file must"))


def _fits(kind: str, text: str, ask: Ask) -> bool:
    try:
        fleet(_READERS[kind](text, ask.file, ask.known), replace(ask, kind=kind))
    except FleetError:
        return False
    return True

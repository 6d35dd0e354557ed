"""supervisord's configuration → its programs; read line by line, so that each key keeps its place."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.fields import truth
from celeryfleet.importers import shell, variables, yamltext
from celeryfleet.importers.found import Fate, Line, Note, Program, Reading, Words

_SECTION = re.compile(r"\[([^\]]+)\]")
_KEY = re.compile(r"([^=:\s][^=:]*?)\s*[=:]\s*(.*)")
_COMMENT = re.compile(r"(?:^|\s)[;#].*")
_EXPANSION = re.compile(r"%\(([A-Za-z_][A-Za-z0-9_]*)\)([0-9]*)([sd])")
#: what differs between the processes of a program; stands for itself until they are counted
_NUMBER = "process_num"
_MOST = 1000
_HINT = "supervisord's configuration has [program:…] sections with a `command` each."


@dataclass(slots=True)
class _Section:
    """A section, as written."""

    name: str
    where: str
    #: key → (value, where)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)

    def get(self, key: str) -> str:
        """Return a value; empty if there is none."""
        return self.keys.get(key, ("", ""))[0]


def read(source: str, file: str) -> Reading:
    """Read supervisord's configuration. Raises FleetError if it is nothing of the kind."""
    sections = list(_sections(source, file))
    if not any(section.name.startswith(("program:", "include", "supervisord")) for section in sections):
        raise FleetError("this is no configuration of supervisord: it has no [program:…] sections.", file, _HINT)
    shared = next((section.get("environment") for section in sections if section.name == "supervisord"), "")
    notes = [
        Note(Fate.LOST, section.where, "[include] is not followed: import each of its files")
        for section in sections
        if section.name == "include"
    ]
    notes += [
        Note(Fate.LOST, section.where, f"[{section.name}]: name pools together, as in `celeryfleet restart a b`")
        for section in sections
        if section.name.startswith("group:")
    ]
    programs: list[Program] = []
    for section in sections:
        if section.name.startswith("program:"):
            programs += _programs(section, shared, notes)
    return Reading(tuple(programs), tuple(notes))


def _sections(source: str, file: str) -> Iterator[_Section]:
    """Read the sections; a line that begins with a space goes on with the key above it."""
    section: _Section | None = None
    key = ""
    for number, line in enumerate(source.splitlines(), 1):
        text = _COMMENT.sub("", line).strip()
        if not text:
            continue
        if match := _SECTION.fullmatch(text):
            if section is not None:
                yield section
            section, key = _Section(match[1].strip(), f"{file}:{number}"), ""
        elif section is not None and line[0].isspace() and key:
            value, where = section.keys[key]
            section.keys[key] = (f"{value} {text.removesuffix(chr(92)).rstrip()}".strip(), where)
        elif section is not None and (match := _KEY.fullmatch(text)):
            key = match[1]
            section.keys[key] = (match[2].removesuffix("\\").rstrip(), f"{file}:{number}")
    if section is not None:
        yield section


# --- Programs ---------------------------------------------------------------------------------------------


def _programs(section: _Section, shared: str, notes: list[Note]) -> Iterator[Program]:
    """Read a program: one for each of its processes where their commands differ."""
    name = section.name.partition(":")[2].strip()
    written, where = section.keys.get("command", ("", section.where))
    count = _expanded(section.get("numprocs") or "1", name, 0)
    env = {**_environment(shared, name, notes, where), **_environment(section.get("environment"), name, notes, where)}
    first = section.get("numprocs_start")
    differ = f"({_NUMBER})" in written and count.isdecimal()
    numbers = range(min(int(count), _MOST)) if differ else range(1)
    replicas = "1" if differ else count
    for number in numbers:
        offset = int(first) if first.isdecimal() else 0
        try:
            # `$VAR` is for the shell that the command starts; supervisord itself replaces %(ENV_VAR)s only.
            inner = variables.filled(variables.normal(written), env)
            words = shlex.split(_expanded(inner, name, number + offset))
        except ValueError as error:
            notes.append(Note(Fate.LOST, where, f"no shell could read this: {error}", name))
            return
        comment = "" if count == "1" else f"{section.keys['numprocs'][1]} numprocs"
        commands: tuple[Words, ...] = tuple(shell.separated([variables.normal(word) for word in words]))
        yield Program(
            name,
            where,
            commands,
            env,
            replicas=replicas,
            replicas_from=comment,
            lines=tuple(_lines(section, name, notes)),
            leftovers=tuple(_leftovers(section, name)),
        )


def _expanded(text: str, name: str, number: int) -> str:
    """Replace `%(…)s`: what supervisord takes from its own environment becomes `${VAR}`."""

    def value(match: re.Match[str]) -> str:
        key, width, form = match[1], match[2], match[3]
        if key.startswith("ENV_"):
            return f"${{{key.removeprefix('ENV_')}}}"
        if key == _NUMBER:
            return str(number).zfill(int(width or 0)) if form == "d" else str(number)
        return {"program_name": name, "group_name": name, "host_node_name": "%h", "here": "."}.get(key, match[0])

    return _EXPANSION.sub(value, text.replace("%%", "\0")).replace("\0", "%")


def _environment(text: str, name: str, notes: list[Note], where: str) -> dict[str, str]:
    """Read `A="b",C='d'`."""
    lexer = shlex.shlex(_expanded(text, name, 0), posix=True)
    lexer.whitespace += ","
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        pairs = [word.partition("=") for word in lexer]
    except ValueError as error:
        notes.append(Note(Fate.LOST, where, f"`environment` cannot be read: {error}", name))
        return {}
    return {key: value for key, equals, value in pairs if equals}


def _lines(section: _Section, name: str, notes: list[Note]) -> Iterator[Line]:
    for key, pool_key, form in (
        ("stopwaitsecs", "stop_grace_period", "{}s"),
        ("startretries", "restart", "{{max_restarts: {}}}"),
    ):
        written = _expanded(section.get(key), name, 0)
        if not written:
            continue
        where = section.keys[key][1]
        if written.isdecimal():
            value = yamltext.span(int(written)) if form == "{}s" else form.format(int(written))
            yield Line(pool_key, value, f"{where} {key}")
        elif form == "{}s" and variables.alone(written):
            yield Line(pool_key, form.format(written), f"{where} {key}")
        else:
            note = Note(Fate.LOST, where, f"`{key}={written}` is no whole number", name)
            notes += [] if note in notes else [note]


def _leftovers(section: _Section, name: str) -> Iterator[Note]:
    """Say what a worker's program has that a fleet has not."""
    for key, (value, where) in section.keys.items():
        what = _said(key, _expanded(value, name, 0))
        if what:
            yield Note(Fate.LOST, where, what, name)


def _said(key: str, value: str) -> str:
    match key:
        case "directory":
            return f"`directory={value}`: fleet.yaml belongs in that folder, for the app is imported from there"
        case "user":
            return f"`user={value}`: the fleet runs as the user who starts it"
        case "autostart" if truth(value) is False:
            return "`autostart=false`: a fleet starts every pool; give this one `profiles` or `replicas: 0`"
        case "autorestart" if truth(value) is not True:
            return f"`autorestart={value}`: a fleet starts a worker again, up to `max_restarts`"
        case "stopsignal" if value not in ("TERM", "SIGTERM"):
            return f"`stopsignal={value}`: a stop is warm, and cold after `stop_grace_period`"
        case "stopasgroup" if truth(value):
            return "`stopasgroup=true`: it kills the children of a worker in mid-task; a fleet tells the worker alone"
        case "priority":
            return f"`priority={value}`: all pools start at once"
        case "umask":
            return f"`umask={value}`: set it before `celeryfleet up`"
        case _:
            return ""

"""supervisord's configuration → its programs, by the parser and the rules that supervisord has."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from celeryfleet.errors import FleetError
from celeryfleet.importers import yamltext
from celeryfleet.importers.found import FOLDER, USER, Fate, Line, Note, Open, Program, Reading, leftovers
from celeryfleet.importers.repository import Read, Repository
from celeryfleet.text import cut

_SECTION = re.compile(r"\[([^\]]+)\]")
#: of an `environment`
_PAIR = re.compile(r"""\s*([^=,\s]+)\s*=\s*("[^"]*"|'[^']*'|[^,"']*)\s*(?:,|$)""")
_KEY = re.compile(r"([^=:\s;#][^=:]*)[=:]")
_EXPANSION = re.compile(r"%\(([A-Za-z_][A-Za-z0-9_]*)\)([0-9]*)([sd])")
#: what differs between the processes of a program
_NUMBER = "process_num"
_MOST = 1000
_HINT = "supervisord's configuration has [program:…] sections with a `command` each."


class _Parser(configparser.RawConfigParser):
    """The parser that supervisord uses; its pattern of a line takes the square of a line's spaces (seen in 3.11)."""

    OPTCRE = re.compile(r"(?P<option>[^=:]*)(?P<vi>[=:])\s*(?P<value>.*)$")


def read(source: str, file: str, read: Read) -> Reading:
    """Read supervisord's configuration. Raises FleetError if it is nothing of the kind."""
    parser = _Parser(strict=False, inline_comment_prefixes=(";", "#"), default_section="\0")
    try:
        parser.read_string(source, file)
    except configparser.Error as error:
        what = f"this is no configuration of supervisord: {cut(' '.join(str(error).split()), 200)}."
        raise FleetError(what, file, _HINT) from None
    places = _places(source, file)
    notes: list[Note] = []
    programs: list[Program] = []
    shared = parser.get("supervisord", "environment", fallback="")
    for name in parser.sections():
        kind, _, own = name.partition(":")
        if kind == "program":
            of_keys = {key: places.get((name, key), file) for key in ("", *parser[name])}
            programs += _Program(own.strip(), parser[name], of_keys, notes, Repository(read).open).read(shared)
        elif kind in ("include", "group"):
            what = f"[{name}]: name pools together, as in `celeryfleet restart a b`"
            if kind == "include":
                what = "[include] is not followed: import each of its files"
            notes.append(Note(Fate.LOST, places.get((name, ""), file), what))
    if not any(name.startswith(("program:", "include", "supervisord")) for name in parser.sections()):
        raise FleetError("this is no configuration of supervisord: it has no [program:…] sections.", file, _HINT)
    return Reading(tuple(programs), tuple(notes))


def _places(source: str, file: str) -> dict[tuple[str, str], str]:
    """Return where each section, whose key is empty, and each of its keys stands."""
    found: dict[tuple[str, str], str] = {}
    section = ""
    for number, line in enumerate(source.splitlines(), 1):
        if match := _SECTION.match(line):
            section = match[1]
            found.setdefault((section, ""), f"{file}:{number}")
        elif match := _KEY.match(line):
            found[section, match[1].rstrip().lower()] = f"{file}:{number}"
    return found


@dataclass(frozen=True, slots=True)
class _Program:
    """A [program:x] section, being read."""

    name: str
    keys: Mapping[str, str]
    #: of its keys; its own under the empty key
    places: Mapping[str, str]
    notes: list[Note]
    open: Open

    def read(self, shared: str) -> Iterator[Program]:
        """Read it: one program for each of its processes where their commands differ."""
        where = self.places.get("command", self.places[""])
        command = " ".join(self.keys.get("command", "").replace("\\\n", "\n").split("\n"))
        env = self._environment(shared, where) | self._environment(self.keys.get("environment", ""), where)
        count = self._expanded(self.keys.get("numprocs", "1"))
        first = self.keys.get("numprocs_start", "")
        differ = f"({_NUMBER})" in command and count.isdecimal()
        place = self.places.get("numprocs", where)
        replicas = Line("replicas", "1" if differ else yamltext.literal(count), "numprocs" * (count != "1"), place)
        lines, leftovers = tuple(self._lines()), tuple(self._leftovers())
        for number in range(min(int(count[:6]), _MOST)) if differ else range(1):
            offset = int(first) if re.fullmatch("[0-9]{1,6}", first) else 0
            try:
                words = tuple(shlex.split(self._expanded(command, number + offset)))
            except ValueError:
                words = ("sh", "-c", command)  # which cannot be read either, and is said there
            yield Program(
                self.name, where, words, env, replicas=replicas, lines=lines, leftovers=leftovers, open=self.open
            )

    def _expanded(self, text: str, number: int = 0) -> str:
        """Replace `%(…)s`: what supervisord takes from its own environment becomes `${VAR}`."""

        def value(match: re.Match[str]) -> str:
            key, width, form = match[1], match[2], match[3]
            if key.startswith("ENV_"):
                return f"${{{key.removeprefix('ENV_')}}}"
            if key == _NUMBER:
                return str(number).zfill(int(width[:3] or 0)) if form == "d" else str(number)
            known = {"program_name": self.name, "group_name": self.name, "host_node_name": "%h", "here": "."}
            return known.get(key, match[0])

        return _EXPANSION.sub(value, text.replace("%%", "\0")).replace("\0", "%")

    def _environment(self, text: str, where: str) -> dict[str, str]:
        """Read `A="b",C='d'`: within quotes all is as it is, and an end is where they close."""
        text = self._expanded(text)
        if rest := _PAIR.sub("", text).strip():
            self.notes.append(Note(Fate.LOST, where, f"`environment` cannot be read at `{rest[:20]}`", self.name))
        return {match[1]: match[2].strip("'\"") for match in _PAIR.finditer(text)}

    def _lines(self) -> Iterator[Line]:
        if written := self._expanded(self.keys.get("stopwaitsecs", "")):
            grace = yamltext.literal(f"{written}s")
            yield Line("stop_grace_period", grace, "stopwaitsecs", self.places["stopwaitsecs"])
        if written := self._expanded(self.keys.get("startretries", "")):
            restart = yamltext.mapping({"max_restarts": written})
            yield Line("restart", restart, "startretries", self.places["startretries"])

    def _leftovers(self) -> Iterator[Note]:
        """Say what a worker's program has that a fleet has not."""
        values = ((key, self._expanded(value), self.places[key]) for key, value in self.keys.items())
        return leftovers(values, _SAYINGS, "=", self.name)


_SAYINGS = {
    "directory": ("", FOLDER),
    "user": ("", USER),
    "autostart": ("true|yes|on|1", "a fleet starts every pool; give this one `profiles` or `replicas: 0`"),
    "autorestart": ("true|yes|on|1", "a fleet starts a worker again, up to `max_restarts`"),
    "stopsignal": ("(SIG)?TERM", "a stop is warm, and cold after `stop_grace_period`"),
    "stopasgroup": (
        "false|no|off|0",
        "it kills the children of a worker in mid-task; a fleet tells the worker alone",
    ),
    "priority": ("", "all pools start at once"),
    "umask": ("", "set it before `celeryfleet up`"),
}

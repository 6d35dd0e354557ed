"""A systemd unit → the program that it starts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from posixpath import basename

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile import dotenv
from celeryfleet.importers import variables, yamltext
from celeryfleet.importers.found import FOLDER, USER, Fate, Line, Note, Program, Reading, leftovers, split_words
from celeryfleet.importers.repository import Read, Repository

_KEY = re.compile(r"\s*([A-Za-z]+)\s*=\s*(.*)", re.DOTALL)
_SPECIFIER = re.compile(r"%(.)")
#: `-`, `@` and the like before a path
_FLAGS = "-@:+!|"
_SPAN = re.compile(r"[0-9]+(ms|s|sec|m|min|h|hr|d)?")
_UNITS = {"sec": "s", "min": "m", "hr": "h"}
_SAYINGS = {
    **dict.fromkeys(("User", "Group", "DynamicUser"), ("", USER)),
    "WorkingDirectory": ("", FOLDER),
    "Restart": ("always|on-failure|on-abnormal|on-abort", "a fleet starts a worker again, up to `max_restarts`"),
    "KillSignal": ("(SIG)?TERM|15", "a stop is warm, and cold after `stop_grace_period`"),
    "KillMode": ("control-group", "a fleet tells the worker alone, and kills what is left"),
    **dict.fromkeys(
        ("MemoryMax", "MemoryHigh", "MemoryLimit", "CPUQuota", "TasksMax", "Nice"),
        ("", "it bounds the service: set it for the service that runs `celeryfleet up`"),
    ),
    "ExecStartPre": ("", "it is not run before the workers"),
    "ExecReload": ("", "`celeryfleet reload` reads new code"),
    "WatchdogSec": ("", "a worker that is silent is replaced anyway"),
}


@dataclass(slots=True)
class _Unit:
    """A unit, being read."""

    file: str
    #: what `%i` is
    instance: str
    read: Read
    env: dict[str, str] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    env_files: list[str] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    restart: dict[str, str] = field(default_factory=dict)
    said: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def take(self, key: str, value: str, where: str) -> None:
        """Take one line of its [Service]."""
        value = self._specified(value)
        match key:
            case "ExecStart":
                self.commands = [*self.commands, (value.lstrip(_FLAGS), where)] if value else []
            case "Environment":
                self.env |= dict(word.split("=", 1) for word in split_words(value) if "=" in word)
            case "EnvironmentFile":
                self._environment_file(value, where)
            case "TimeoutStopSec" | "TimeoutSec" if span := _span(value):
                self.lines.append(Line("stop_grace_period", yamltext.scalar(span), key, where))
            case "RestartSec" | "StartLimitIntervalSec" if span := _span(value):
                self.restart["backoff" if key == "RestartSec" else "window"] = span
            case "StartLimitBurst" if value.isdecimal() and int(value):
                self.restart["max_restarts"] = str(int(value) - 1)
            case _:
                self.said.append((key, value, where))

    def _specified(self, value: str) -> str:
        """Replace `%i` and its like; `%%h` is Celery's %h."""
        stem = basename(self.file).removesuffix(".service")
        names = {
            "%": "%", "i": self.instance or "%i", "I": self.instance or "%i", "n": f"{stem}.service", "N": stem,
            "p": stem.partition("@")[0], "H": "%h",
        }  # fmt: skip
        return _SPECIFIER.sub(lambda match: names.get(match[1], match[0]), value)

    def _environment_file(self, value: str, where: str) -> None:
        optional, path = value.startswith("-"), value.removeprefix("-")
        found = self.read(path)
        if found is not None:
            self.known |= dotenv.parse(found, path)[0]
            self.env_files.append(path)
        elif not optional:
            what = f"`EnvironmentFile={path}` is not here: `celeryfleet --env-file FILE import systemd …` reads it"
            self.notes.append(Note(Fate.LOST, where, what))


def read(source: str, file: str, known: Mapping[str, str], read: Read) -> Reading:
    """Read a unit. Raises FleetError if it is none, or if it is a template whose instance is not told."""
    unit = _Unit(file, basename(file).removesuffix(".service").partition("@")[2], read)
    section = ""
    for number, line in _lines(source):
        match = _KEY.fullmatch(line)
        if line.strip().startswith("["):
            section = line.strip()
        elif match and (section == "[Service]" or match[1].startswith("StartLimit")):
            unit.take(match[1], match[2].strip(), f"{file}:{number}")
    if unit.restart:
        unit.lines.append(Line("restart", yamltext.mapping(unit.restart), "RestartSec, StartLimit…"))
    if not unit.commands:
        hint = "A unit has a [Service] section with an ExecStart."
        raise FleetError("this is no unit of systemd that starts something.", file, hint)
    return Reading(tuple(_programs(unit, known)), tuple(unit.notes))


def _span(value: str) -> str:
    """Write a length of time as fleet.yaml does; empty: it is none, or a sum of several."""
    match = _SPAN.fullmatch(value)
    unit = (match and match[1]) or "s"
    return value.removesuffix((match and match[1]) or "") + _UNITS.get(unit, unit) if match else ""


def _lines(source: str) -> Iterator[tuple[int, str]]:
    """Go through the lines, joined where they end in a backslash; comments are left out, within those too."""
    held, start = "", 0
    for number, line in enumerate(source.splitlines(), 1):
        if line.lstrip().startswith(("#", ";")) or not (line.strip() or held):
            continue
        start = start if held else number
        if line.endswith("\\"):
            held += line[:-1] + " "
        else:
            yield start, held + line
            held = ""


def _programs(unit: _Unit, known: Mapping[str, str]) -> Iterator[Program]:
    stem = basename(unit.file).removesuffix(".service")
    name = unit.instance or stem.partition("@")[0]
    for text, where in unit.commands:
        if "%i" in text and "celery" in text.lower():
            hint = (
                f"Name the target that wants it, or an instance, as systemd has it: {unit.file.replace('@.', '@mail.')}"
            )
            raise FleetError("the command holds %i, which a template does not tell.", where, hint)
        values = {**unit.known, **known, **unit.env}
        words = tuple(word for written in split_words(text) for word in _replaced(written, values))
        # Nothing is replaced in them; a `${` is more likely meant than not.
        literal = {key: value if "${" in value else value.replace("$", "$$") for key, value in unit.env.items()}
        leftovers_ = tuple(leftovers(unit.said, _SAYINGS, "=", name))
        yield Program(
            name, where, words, literal, {**unit.known, **known}, tuple(unit.env_files), lines=tuple(unit.lines),
            leftovers=leftovers_, open=Repository(unit.read).open,
        )  # fmt: skip


def _replaced(word: str, values: Mapping[str, str]) -> list[str]:
    """Replace variables as systemd does: a word that is `$VAR` becomes any number of words, and `$$` is a dollar."""
    bare = re.fullmatch(r"\$([A-Za-z_]\w*)", word)
    if bare and bare[1] in values:
        return split_words(values[bare[1]])
    parts = word.split("$$") if any(map(str.isspace, word)) else map(variables.normal, word.split("$$"))
    return ["$".join(variables.filled(part, values) for part in parts)]

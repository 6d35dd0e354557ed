"""A compose file → the programs of its services; `extends` is followed within the file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.names import fleet_problem
from celeryfleet.fleetfile.parser import parse_yaml
from celeryfleet.fleetfile.transform import overridden
from celeryfleet.fleetfile.tree import (
    Entry,
    MappingNode,
    Mark,
    Node,
    ScalarNode,
    SequenceNode,
    at,
    child,
    entries,
    is_null,
    text,
)
from celeryfleet.importers import shell, variables, yamltext
from celeryfleet.importers.found import FOLDER, USER, Fate, Line, Note, Program, Reading, leftovers

_HINT = "A compose file has `services:` with a `command:` each."
#: images of brokers → the URL of a service of that name
_BROKERS = {
    **dict.fromkeys(
        ("redis", "valkey", "keydb", "dragonfly", "redis-stack", "redis-stack-server"), "redis://{}:6379/0"
    ),
    "rabbitmq": "amqp://{}:5672//",
}
#: keys of a service that belong to its container; a fleet has nothing of the kind
_LIMITS = ("mem_limit", "cpus", "cpu_shares", "pids_limit", "ulimits", "memswap_limit")
_TAG_HINT = "fleet.yaml needs no tags."
_OF_THE_SHELL = re.compile(r"\$\$([A-Za-z_]\w*|\{[^{}]*\})")


def read(source: str, file: str) -> Reading:
    """Read a compose file. Raises FleetError."""
    root, problems = parse_yaml(source, file)
    problems = [problem for problem in problems if problem.hint != _TAG_HINT]  # !reset, !override
    if problems:
        raise FleetError.of(problems)
    services = child(root, "services")
    if services is None and _is_version_1(root):
        services = root
    if not isinstance(services, MappingNode):
        raise FleetError("this is no compose file: it has no services.", file, _HINT)
    notes = [
        Note(Fate.LOST, _place(entry.mark), f"`include` is not followed: {_resolved(file)}")
        for key, entry in entries(root)
        if key == "include"
    ]
    programs = []
    for name, entry in services.entries.items():
        service = _Service(name, _extended(name, entry, services, notes, file), entry, notes)
        programs.append(service.program())
    whole = text(child(root, "name")) or ""
    return Reading(tuple(programs), tuple(notes), "" if fleet_problem(whole) else whole, dict(_brokers(services)))


def _resolved(file: str) -> str:
    return f"`docker compose -f {file} config | celeryfleet import compose -` reads the whole"


def _is_version_1(root: Node | None) -> bool:
    return any(child(entry.node, key) is not None for _, entry in entries(root) for key in ("image", "build"))


def _place(mark: Mark) -> str:
    return f"{mark.file}:{mark.line}"


def _extended(name: str, entry: Entry, services: MappingNode, notes: list[Note], file: str) -> Node:
    """Lay a service over the one in the same file that it extends."""
    node, seen = entry.node, [entry.node]
    while (extends := child(seen[-1], "extends")) is not None:
        base = text(extends) or text(child(extends, "service")) or ""
        other = child(services, base)
        if child(extends, "file") is not None or other is None or other in seen:
            where = _place(extends.mark)
            notes.append(Note(Fate.LOST, where, f"`extends` is followed within the file only: {_resolved(file)}", name))
            break
        node = overridden(other, node)
        seen.append(other)
    return node


def _brokers(services: MappingNode) -> Iterator[tuple[str, str]]:
    for name, entry in services.entries.items():
        image = (text(child(entry.node, "image")) or "").rpartition("/")[2].partition(":")[0]
        if image in _BROKERS:
            yield _BROKERS[image].format(name), _place(entry.mark)


@dataclass(slots=True)
class _Service:
    """One service, being read."""

    name: str
    node: Node
    entry: Entry
    notes: list[Note]
    env: dict[str, str] = field(default_factory=dict)

    def program(self) -> Program:
        """Read it."""
        self.env = dict(self._environment())
        written = [e for key, e in entries(self.node) if key in ("entrypoint", "command") and not is_null(e.node)]
        where = _place((written[-1] if written else self.entry).mark)
        words = [word for key in ("entrypoint", "command") for word in self._words(child(self.node, key))]
        if words and words[0].startswith("-"):
            what = f"its command starts with {words[0]}: the entrypoint of its image is taken to be celery"
            self.notes.append(Note(Fate.CHANGED, where, what, self.name))
            words.insert(0, "celery")
        return Program(
            self.name,
            where,
            shell.separated(words, where),
            {key: value for key, value in self.env.items() if value != f"${{{key}}}"},
            tuple(map(variables.normal, filter(variables.readable, self._texts("env_file")))),
            self._line("replicas", "deploy", "replicas") or self._line("replicas", "scale") or Line("replicas", "1"),
            tuple(self._lines()),
            tuple(self._leftovers()),
        )

    # --- Commands -----------------------------------------------------------------------------------------

    def _words(self, node: Node | None) -> list[str]:
        match node:
            case ScalarNode():
                try:
                    return list(map(self._shell, shlex.split(node.text.replace("\\\n", " "))))
                except ValueError as error:
                    what = f"no shell could read this: {error}"
                    self.notes.append(Note(Fate.LOST, _place(node.mark), what, self.name))
                    return []
            case SequenceNode():
                return [self._shell(item.text) for item in node.items if isinstance(item, ScalarNode)]
            case _:
                return []

    def _shell(self, word: str) -> str:
        """Write variables alike: `$VAR` is compose's, `$$VAR` the container's, which its `environment` may tell."""
        return _OF_THE_SHELL.sub(self._of_the_shell, variables.normal(word)).replace("$$", "$")

    def _of_the_shell(self, match: re.Match[str]) -> str:
        return variables.filled(variables.normal(f"${match[1]}"), self.env)

    # --- Everything else ----------------------------------------------------------------------------------

    def _environment(self) -> Iterator[tuple[str, str]]:
        match child(self.node, "environment"):
            case MappingNode() as block:
                for key, entry in block.entries.items():
                    if (value := text(entry.node)) is not None:
                        yield key, variables.normal(value)
            case SequenceNode() as listing:
                for item in listing.items:
                    name, equals, value = (text(item) or "").partition("=")
                    if equals:
                        yield name, variables.normal(value)
            case _:
                return

    def _texts(self, key: str) -> Iterator[str]:
        """Go through a list of texts, or of mappings with a `path`; a mere text is a list of one."""
        node = child(self.node, key)
        for item in node.items if isinstance(node, SequenceNode) else (node,):
            found = text(item) if isinstance(item, ScalarNode) else text(child(item, "path"))
            if found and found.strip():
                yield found

    def _value(self, *path: str) -> str:
        return variables.normal(text(at(self.node, path)) or "")

    def _line(self, key: str, *path: str, value: str = "") -> Line | None:
        """Make a pool's key of the value at a path, or of this YAML text."""
        node = at(self.node, path)
        value = value or (yamltext.literal(self._value(*path)) if self._value(*path) else "")
        return Line(key, value, path[-1], _place(node.mark)) if node is not None and value else None

    def _lines(self) -> Iterator[Line]:
        profiles = [variables.normal(name) for name in self._texts("profiles")]
        for line in (
            self._line("stop_grace_period", "stop_grace_period"),
            self._restart(),
            self._line("profiles", "profiles", value=yamltext.listing(profiles) if profiles else ""),
        ):
            if line is not None:
                yield line

    def _restart(self) -> Line | None:
        policy = ("deploy", "restart_policy")
        match = re.fullmatch("on-failure:(.+)", self._value("restart"))
        delay, window = self._value(*policy, "delay"), self._value(*policy, "window")
        found = {
            "max_restarts": match[1] if match else self._value(*policy, "max_attempts"),
            "backoff": delay,  # which is always the same in compose
            "max_backoff": delay,
            "window": "" if window in ("0", "0s") else window,
        }
        path = policy if at(self.node, policy) is not None else ("restart",)
        value = yamltext.mapping({key: value for key, value in found.items() if value})
        return self._line("restart", *path, value=value) if any(found.values()) else None

    def _leftovers(self) -> Iterator[Note]:
        """Say what a worker's service has that a fleet has not."""
        for key, entry in entries(self.node):
            where, value = _place(entry.mark), text(entry.node)
            if value is not None:
                yield from leftovers([(key, value, where)], _SAYINGS, ": ", self.name)
            if key == "healthcheck":
                what = "`healthcheck`: a worker that is silent or does not consume is replaced anyway"
                yield Note(Fate.LOST, where, what, self.name)
            if key in _LIMITS or (key == "deploy" and child(entry.node, "resources") is not None):
                shown = "deploy.resources" if key == "deploy" else key
                what = f"`{shown}`: it bounds the container; `max_memory_per_child` bounds a process of a worker"
                yield Note(Fate.LOST, where, what, self.name)


_SAYINGS = {
    "restart": ("(?!no|false).*", "a fleet starts a worker again, up to `max_restarts`"),
    "stop_signal": ("(SIG)?TERM|15", "a stop is warm, and cold after `stop_grace_period`"),
    "working_dir": ("", FOLDER),
    "user": ("", USER),
}

"""Compose files → the programs of their services."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

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
    at,
    child,
    entries,
    is_null,
    items,
    text,
)
from celeryfleet.importers import variables, wrappers, yamltext
from celeryfleet.importers.found import FOLDER, USER, Fate, Line, Note, Program, Reading, leftovers
from celeryfleet.importers.images import Images, pairs
from celeryfleet.importers.repository import Read

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
#: files that extend one another
_DEEPEST = 10


def read(texts: Mapping[str, str], known: Mapping[str, str], read: Read) -> Reading:
    """Read compose files, each laid over those before it. Raises FleetError."""
    file = next(iter(texts))
    roots = [_root(source, name) for name, source in texts.items()]
    root = roots[0]
    for other in roots[1:]:
        root = overridden(root, other)
    services = child(root, "services")
    if services is None and _is_version_1(root):
        services = root
    if not isinstance(services, MappingNode):
        raise FleetError("this is no compose file: it has no services.", file, _HINT)
    notes: list[Note] = []
    services = replace(services, entries={**_included(root, file, notes, read), **services.entries})
    nodes = {name: _extended(name, entry, services, notes, read) for name, entry in services.entries.items()}
    images = Images(nodes, known, read)
    programs = [_Service(name, node, services.entries[name], notes, images).program() for name, node in nodes.items()]
    whole = text(child(root, "name")) or ""
    return Reading(tuple(programs), tuple(notes), "" if fleet_problem(whole) else whole, dict(_brokers(services)))


def _root(source: str, file: str) -> Node:
    root, problems = parse_yaml(source, file)
    problems = [problem for problem in problems if problem.hint != _TAG_HINT]  # !reset, !override
    if problems:
        raise FleetError.of(problems)
    return root if root is not None else ScalarNode("", Mark(file))


def _included(root: Node, file: str, notes: list[Note], read: Read) -> dict[str, Entry]:
    """Return the services of the files that a file includes; their own includes are not followed."""
    found: dict[str, Entry] = {}
    for node in _paths(child(root, "include")):
        path = node.text
        source = read(path)
        other = None if source is None else _root(source, path)
        if other is None or child(other, "include") is not None:
            notes.append(Note(Fate.LOST, node.mark.row, f"`include` {path} is not followed: {_resolved(file)}"))
        found |= dict(entries(child(other, "services")))
    return found


def _paths(node: Node | None) -> Iterator[ScalarNode]:
    """Go through a text, or a list of texts and of mappings with a `path` or several."""
    for item in items(node) or (node,):
        path = item if isinstance(item, ScalarNode) else child(item, "path")
        yield from (one for one in items(path) or (path,) if isinstance(one, ScalarNode) and (text(one) or "").strip())


def _resolved(file: str) -> str:
    return f"`docker compose -f {file} config | celeryfleet import compose -` reads the whole"


def _is_version_1(root: Node | None) -> bool:
    return any(child(entry.node, key) is not None for _, entry in entries(root) for key in ("image", "build"))


def _of_shell(word: str) -> str:
    """Write variables as a shell has them: `$VAR` is compose's, `$$VAR` the container's."""
    return variables.normal(word).replace("$$", "$")


def _extended(name: str, entry: Entry, services: MappingNode, notes: list[Note], read: Read) -> Node:
    """Lay a service over the one that it extends, in the same file or in another one."""
    node, seen = entry.node, [entry.node]
    within: Node | None = services
    while (extends := child(seen[-1], "extends")) is not None:
        base, path = text(extends) or text(child(extends, "service")) or "", text(child(extends, "file"))
        source = read(path) if path else None
        if path and source is not None:
            within = child(_root(source, path), "services")
        other = child(within, base) if not path or source is not None else None
        if other is None or other in seen or len(seen) > _DEEPEST:
            where = extends.mark.row
            what = f"`extends` {path or base}: that is not here. {_resolved(extends.mark.file)}"
            notes.append(Note(Fate.LOST, where, what, name))
            break
        node = overridden(other, node)
        seen.append(other)
    return node


def _brokers(services: MappingNode) -> Iterator[tuple[str, str]]:
    for name, entry in services.entries.items():
        image = (text(child(entry.node, "image")) or "").rpartition("/")[2].partition(":")[0]
        if image in _BROKERS:
            yield _BROKERS[image].format(name), entry.mark.row


@dataclass(slots=True)
class _Service:
    """One service, being read."""

    name: str
    node: Node
    entry: Entry
    notes: list[Note]
    images: Images
    env: dict[str, str] = field(default_factory=dict)

    def program(self) -> Program:
        """Read it."""
        self.env = dict(self._environment())
        image = self.images.of(self.node)
        entrypoint, command = (self._command(key) for key in ("entrypoint", "command"))
        words: list[str] = []
        places = [self.entry.mark]
        if entrypoint is None:
            words += image.entrypoint
            command = (self.entry.mark, list(image.command)) if command is None else command
        for mark, found in filter(None, (entrypoint, command)):
            words += found
            places.append(mark)
        where = image.where(words, places[-1].row)
        if wrappers.bare(tuple(words)):
            what = f"its command starts with {words[0]}: the entrypoint of its image is taken to be celery"
            self.notes.append(Note(Fate.CHANGED, where, what, self.name))
            words.insert(0, "celery")
        env_files = tuple(map(variables.normal, filter(variables.readable, self._texts("env_file"))))
        return Program(
            self.name,
            where,
            tuple(words),
            {key: value for key, value in self.env.items() if value != f"${{{key}}}"},
            image.env,
            env_files,
            self._line("replicas", "deploy", "replicas") or self._line("replicas", "scale") or Line("replicas", "1"),
            tuple(self._lines()),
            tuple(self._leftovers()),
            image.open,
            self.images.variables(env_files),
        )

    # --- Commands -----------------------------------------------------------------------------------------

    def _command(self, key: str) -> tuple[Mark, list[str]] | None:
        """Return the words of an entrypoint or a command, and where they are; None: the image's hold."""
        entry = next((entry for name, entry in entries(self.node) if name == key and not is_null(entry.node)), None)
        return None if entry is None else (entry.mark, self._words(entry.node))

    def _words(self, node: Node) -> list[str]:
        if not isinstance(node, ScalarNode):
            return [_of_shell(item.text) for item in items(node) if isinstance(item, ScalarNode)]
        try:
            return list(map(_of_shell, shlex.split(node.text.replace("\\\n", " "))))
        except ValueError:
            return ["sh", "-c", node.text]  # which cannot be read either, and is said there

    # --- Everything else ----------------------------------------------------------------------------------

    def _environment(self) -> Iterator[tuple[str, str]]:
        for key, value in pairs(child(self.node, "environment")):
            yield key, variables.normal(value)

    def _texts(self, key: str) -> Iterator[str]:
        return (node.text for node in _paths(child(self.node, key)))

    def _value(self, *path: str) -> str:
        return variables.normal(text(at(self.node, path)) or "")

    def _line(self, key: str, *path: str, value: str = "") -> Line | None:
        """Make a pool's key of the value at a path, or of this YAML text."""
        node = at(self.node, path)
        value = value or (yamltext.literal(self._value(*path)) if self._value(*path) else "")
        return Line(key, value, path[-1], node.mark.row) if node is not None and value else None

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
        written = self._value("restart")
        match = re.fullmatch("on-failure:(.+)", "on-failure:0" if written == "no" else written)
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
            where, value = entry.mark.row, text(entry.node)
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

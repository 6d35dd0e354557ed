"""A compose file → the programs of its services; `extends` is followed within the file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile import units
from celeryfleet.fleetfile.fields import truth
from celeryfleet.fleetfile.merge import compose, overridden
from celeryfleet.fleetfile.names import fleet_problem
from celeryfleet.fleetfile.tree import Block, Entry, Listing, Node, Scalar, at, child, entries, is_null, text
from celeryfleet.importers import shell, variables, yamltext
from celeryfleet.importers.found import Fate, Line, Note, Program, Reading, Words

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
#: seconds, a pool's default
_MAX_BACKOFF = 60
_TAG_HINT = "fleet.yaml needs no tags."
_OF_THE_SHELL = re.compile(r"\$\$([A-Za-z_]\w*|\{[^{}]*\})")


def read(source: str, file: str) -> Reading:
    """Read a compose file. Raises FleetError."""
    root, problems = compose(source, file)
    problems = [problem for problem in problems if problem.hint != _TAG_HINT]  # !reset, !override
    if problems:
        raise FleetError.of(problems)
    services = child(root, "services")
    if services is None and _is_version_1(root):
        services = root
    if not isinstance(services, Block):
        raise FleetError("this is no compose file: it has no services.", file, _HINT)
    notes = [
        Note(Fate.LOST, _place(entry), f"`include` is not followed: {_resolved(file)}")
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


def _place(entry: Entry) -> str:
    return f"{entry.mark.file}:{entry.mark.line}"


def _extended(name: str, entry: Entry, services: Block, notes: list[Note], file: str) -> Node:
    """Lay a service over the one in the same file that it extends."""
    node, seen = entry.node, [entry.node]
    while (extends := child(seen[-1], "extends")) is not None:
        base = text(extends) or text(child(extends, "service")) or ""
        other = child(services, base)
        if child(extends, "file") is not None or other is None or other in seen:
            where = f"{extends.mark.file}:{extends.mark.line}"
            notes.append(Note(Fate.LOST, where, f"`extends` is followed within the file only: {_resolved(file)}", name))
            break
        node = overridden(other, node)
        seen.append(other)
    return node


def _brokers(services: Block) -> Iterator[tuple[str, str]]:
    for name, entry in services.entries.items():
        image = (text(child(entry.node, "image")) or "").rpartition("/")[2].partition(":")[0]
        if image in _BROKERS:
            yield _BROKERS[image].format(name), _place(entry)


@dataclass
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
        words = [word for key in ("entrypoint", "command") for word in self._words(child(self.node, key))]
        where = _place(written[-1] if written else self.entry)
        if words and words[0].startswith("-"):
            what = f"its command starts with {words[0]}: the entrypoint of its image is taken to be celery"
            self.notes.append(Note(Fate.CHANGED, where, what, self.name))
            words.insert(0, "celery")
        found = Program(
            self.name,
            where,
            tuple(shell.separated(words)),
            {key: value for key, value in self.env.items() if value != f"${{{key}}}"},
            tuple(self._env_files()),
            lines=tuple(self._lines()),
            leftovers=tuple(self._leftovers()),
        )
        return self._with_replicas(found)

    def _value(self, *path: str) -> tuple[str, str] | None:
        """Return the text at a path and where it is."""
        node = at(self.node, path)
        written = text(node)
        if node is None or written is None:
            return None
        return variables.normal(written), f"{node.mark.file}:{node.mark.line} {path[-1]}"

    # --- Commands -----------------------------------------------------------------------------------------

    def _words(self, node: Node | None) -> Words:
        match node:
            case Scalar():
                try:
                    return tuple(map(self._shell, shlex.split(node.text.replace("\\\n", " "))))
                except ValueError as error:
                    where = f"{node.mark.file}:{node.mark.line}"
                    self.notes.append(Note(Fate.LOST, where, f"no shell could read this: {error}", self.name))
                    return ()
            case Listing():
                return tuple(self._shell(item.text) for item in node.items if isinstance(item, Scalar))
            case _:
                return ()

    def _shell(self, word: str) -> str:
        """Write variables alike: `$VAR` is compose's, `$$VAR` the container's, which its `environment` may tell."""
        return _OF_THE_SHELL.sub(self._of_the_shell, variables.normal(word)).replace("$$", "$")

    def _of_the_shell(self, match: re.Match[str]) -> str:
        return variables.filled(variables.normal(f"${match[1]}"), self.env)

    # --- Everything else ----------------------------------------------------------------------------------

    def _environment(self) -> Iterator[tuple[str, str]]:
        match child(self.node, "environment"):
            case Block() as block:
                for key, entry in block.entries.items():
                    if (value := text(entry.node)) is not None:
                        yield key, variables.normal(value)
            case Listing() as listing:
                for item in listing.items:
                    name, equals, value = (text(item) or "").partition("=")
                    if equals:
                        yield name, variables.normal(value)
            case _:
                return

    def _env_files(self) -> Iterator[str]:
        node = child(self.node, "env_file")
        for item in node.items if isinstance(node, Listing) else (node,):
            path = text(item) if isinstance(item, Scalar) else text(child(item, "path"))
            if path and path.strip() and variables.readable(path):
                yield variables.normal(path)

    def _with_replicas(self, program: Program) -> Program:
        for path in (("deploy", "replicas"), ("scale",)):
            found = self._value(*path)
            if found is not None:
                return replace(program, replicas=found[0], replicas_from=found[1])
        return program

    def _lines(self) -> Iterator[Line]:
        grace = self._duration("stop_grace_period")
        if grace:
            yield Line("stop_grace_period", *grace)
        restart = dict(self._restart())
        if restart:
            yield Line("restart", yamltext.mapping(restart), self._restart_place())
        profiles = child(self.node, "profiles")
        written = [text(item) or "" for item in profiles.items] if isinstance(profiles, Listing) else []
        names = [variables.normal(name) for name in written if name.strip() and variables.readable(name)]
        if names and profiles is not None:
            yield Line("profiles", yamltext.listing(names), f"{profiles.mark.file}:{profiles.mark.line} profiles")

    def _duration(self, *path: str) -> tuple[str, str] | None:
        found = self._value(*path)
        if found is None:
            return None
        settled = variables.settled(found[0], {})
        try:
            if settled is not None or not variables.alone(found[0]):
                units.duration(settled or found[0])
        except ValueError:
            where, _, key = found[1].partition(" ")
            self.notes.append(Note(Fate.LOST, where, f"`{key}: {found[0]}` is no duration", self.name))
            return None
        return yamltext.scalar(found[0]), found[1]

    def _restart_place(self) -> str:
        node = at(self.node, ("deploy", "restart_policy")) or child(self.node, "restart")
        return f"{node.mark.file}:{node.mark.line} restart" if node else ""

    def _restart(self) -> Iterator[tuple[str, str]]:
        found = self._value("restart")
        match = re.fullmatch(r"on-failure:([0-9]{1,6})", found[0]) if found else None
        most = self._value("deploy", "restart_policy", "max_attempts")
        if match or (most and re.fullmatch("[0-9]{1,6}", most[0])):
            yield "max_restarts", match[1] if match else most[0] if most else ""
        for key, option in (("backoff", "delay"), ("window", "window")):
            span = self._duration("deploy", "restart_policy", option)
            seconds = units.duration(span[0]) if span and "$" not in span[0] else 0
            if span and seconds:
                yield key, span[0]
            if span and key == "backoff" and seconds > _MAX_BACKOFF:
                yield "max_backoff", span[0]

    def _leftovers(self) -> Iterator[Note]:
        """Say what a worker's service has that a fleet has not."""
        for key, entry in entries(self.node):
            what = self._said(key, entry.node)
            if what:
                yield Note(Fate.LOST, _place(entry), what, self.name)

    def _said(self, key: str, node: Node) -> str:
        value = text(node) or ""
        match key:
            case "healthcheck":
                return "`healthcheck`: a worker that is silent or does not consume is replaced anyway"
            case "restart" if value in ("no", "false") or truth(node) is False:
                return "`restart: no`: a fleet starts a worker again, up to `max_restarts`"
            case "stop_signal" if value not in ("SIGTERM", "TERM", "15"):
                return f"`stop_signal: {value}`: a stop is warm, and cold after `stop_grace_period`"
            case "working_dir":
                return f"`working_dir: {value}`: fleet.yaml belongs in that folder, for the app is imported from there"
            case "user":
                return f"`user: {value}`: the fleet runs as the user who starts it"
            case key if key in _LIMITS:
                return f"`{key}`: it bounds the container; `max_memory_per_child` bounds a process of a worker"
            case "deploy" if child(node, "resources") is not None:
                return (
                    "`deploy.resources`: they bound the container; `max_memory_per_child` bounds a process of a worker"
                )
            case _:
                return ""

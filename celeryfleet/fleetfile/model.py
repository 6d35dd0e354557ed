"""The Fleet: what the user declared, as frozen models whose attributes are fleet.yaml's keys; runs nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import PrivateAttr, model_validator

from celeryfleet.fleetfile import tree
from celeryfleet.fleetfile.crontab import valid as crontab_is_valid
from celeryfleet.fleetfile.fields import (
    Arguments,
    Duration,
    Free,
    ListSection,
    MappingSection,
    Model,
    OneOrMore,
    Positive,
    Preload,
    Size,
    Span,
    Text,
    Word,
    Words,
    choice,
    refuse,
    short,
    whole,
)
from celeryfleet.fleetfile.headers import Binding, Headers
from celeryfleet.fleetfile.names import App, FleetName, Module, Regex, Results, TaskName, Url
from celeryfleet.fleetfile.pool import Autoscale, Healthcheck, Pool, Restart

__all__ = [
    "Autoscale",
    "Beat",
    "Broker",
    "Entry",
    "Exchange",
    "Fleet",
    "Healthcheck",
    "Logs",
    "Pool",
    "Queue",
    "Restart",
    "Route",
    "Source",
    "TaskAlias",
]

#: the tasks that ship with celeryfleet, as in `celery -A`
DEMO_APP = "celeryfleet.demo"

_Priority = Annotated[int, whole(0, 255)]


class Exchange(Model):
    """An exchange that a queue is bound to."""

    name: Word
    type: Annotated[Literal["direct", "topic", "fanout", "headers"], choice("direct", "topic", "fanout", "headers")] = (
        "direct"
    )


class Queue(Model):
    """A queue, as it is declared on the broker."""

    #: None: a direct exchange of the queue's own name
    exchange: Annotated[Exchange, short("name")] | None = None
    #: None: the queue's name
    routing_key: Text | None = None
    #: of a headers exchange: which messages the queue gets, by their headers; empty: all
    headers: Binding = {}
    #: RabbitMQ's x-max-priority
    max_priority: Annotated[int, whole(1, 255)] | None = None
    #: messages
    max_length: Positive | None = None
    #: None: the broker's default
    type: Annotated[Literal["classic", "quorum"], choice("classic", "quorum")] | None = None
    #: seconds after which `status` turns amber
    max_age: Duration | None = None
    arguments: Arguments = {}

    @model_validator(mode="after")
    def _headers_exchange(self) -> Self:
        if self.headers and (self.exchange is None or self.exchange.type != "headers"):
            name = self.exchange.name if self.exchange else "docs"
            hint = f"Give the queue exchange: {{name: {name}, type: headers}}, or remove them."
            raise refuse("decide at an exchange of type headers only", hint, at="headers")
        return self


class Route(Model):
    """Which tasks go where; exactly one of task, regex and router is set."""

    #: a task's name, or a glob
    task: TaskName | None = None
    #: for the whole name
    regex: Regex | None = None
    #: path of a class, object or function of the user's
    router: Module | None = None
    queue: Word | None = None
    exchange: Word | None = None
    routing_key: Text | None = None
    #: of the messages; those of a call stand in their place
    headers: Headers | None = None
    #: 9 runs first
    priority: _Priority | None = None

    _line: int = PrivateAttr(default=0)
    _text: str = PrivateAttr(default="")

    @property
    def line(self) -> int:
        """Return its line in the file; 0 if it is from none."""
        return self._line

    @property
    def text(self) -> str:
        """Return it on one line."""
        return self._text or str(self)

    def __str__(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self if value is not None)

    @model_validator(mode="after")
    def _one_pattern(self) -> Self:
        patterns = [key for key in ("task", "regex", "router") if getattr(self, key) is not None]
        keys = ("queue", "exchange", "routing_key", "headers", "priority")
        targets = [key for key in keys if getattr(self, key) is not None]
        if not patterns:
            raise refuse(
                "does not say which tasks it is for.", "Give it one of task, regex and router, such as task: shop.*"
            )
        if len(patterns) > 1:
            raise refuse(f"cannot stand beside {patterns[0]}", "Keep one of them.", at=patterns[1])
        if self.router is not None and targets:
            raise refuse("cannot stand beside router", "A router decides by itself.", at=targets[0])
        if self.router is None and not targets:
            raise refuse("does not say where its tasks go.", "Give it a queue, such as queue: default")
        if self.queue is not None and self.exchange is not None:
            raise refuse("cannot stand beside queue", "Keep one of them.", at="exchange")
        return self


class Broker(Model):
    """Where messages go."""

    #: `embedded`, or an URL; with its credentials
    url: Url = "embedded"
    #: seconds after which an unacknowledged message comes back; None: kombu's default
    visibility_timeout: Span | None = None
    #: path of the program for `embedded`; None: the one that is found
    server: Word | None = None


class Entry(Model):
    """A task that beat sends; exactly one of crontab and every is set."""

    task: TaskName
    #: minute, hour, day of month, month, day of week
    crontab: Word | None = None
    #: seconds between two
    every: Span | None = None
    args: Annotated[tuple[Free, ...], ListSection] = ()
    kwargs: Arguments = {}
    #: of `apply_async`: queue, priority, expires…
    options: Arguments = {}

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        if self.crontab is not None and self.every is not None:
            raise refuse("cannot stand beside crontab", "Keep one of them.", at="every")
        if self.crontab is None and self.every is None:
            raise refuse("does not say when.", 'Give it crontab: "0 3 * * *" or every: 10m')
        if self.crontab is not None and not crontab_is_valid(self.crontab):
            raise refuse(
                f'is "{self.crontab}", which is no crontab',
                "Write minute, hour, day of month, month and day of week, such as 0 3 * * *",
                at="crontab",
            )
        return self


class Beat(Model):
    """The one `celery beat` of the fleet."""

    schedule: Annotated[dict[str, Entry], MappingSection] = {}


class Logs(Model):
    """How workers write their logs."""

    format: Annotated[Literal["text", "json"], choice("text", "json")] = "text"
    #: bytes per file
    max_size: Size = 50_000_000
    #: files per worker, the current one included
    max_files: Annotated[int, whole(1, 1000)] = 5


class TaskAlias(Model):
    """A short name for `celeryfleet send`."""

    task: TaskName


@dataclass(frozen=True, slots=True)
class Source:
    """Where a fleet was read."""

    #: as given, absolute if `load.read` read it
    file: str = "fleet.yaml"
    #: all the files, merged and interpolated
    root: tree.Node = field(default_factory=lambda: tree.Block({}, tree.Mark("fleet.yaml")))
    #: what env files defined and the process's environment did not
    variables: dict[str, str] = field(default_factory=dict)


class Fleet(Model):
    """All that one fleet.yaml declares."""

    name: FleetName
    app: App = DEMO_APP
    #: DJANGO_SETTINGS_MODULE
    django: Module | None = None
    env_file: Annotated[Words, OneOrMore, ListSection] = ()
    broker: Annotated[Broker, short("url")] = Broker()
    #: `embedded` (the broker, where it can serve as one), `none`, or a result backend; with its credentials
    results: Results = "embedded"
    celery: Arguments = {}
    queues: Annotated[dict[str, Annotated[Queue, MappingSection]], MappingSection]
    default_queue: Word
    routes: Annotated[tuple[Route, ...], ListSection] = ()
    pools: Annotated[dict[str, Pool], MappingSection] = {}
    preload: Preload = "auto"
    beat: Annotated[Beat, MappingSection] | None = None
    logs: Annotated[Logs, MappingSection] = Logs()
    tasks: Annotated[dict[str, Annotated[TaskAlias, short("task")]], MappingSection] = {}
    canvases: Annotated[dict[str, Word], MappingSection] = {}

    _source: Source = PrivateAttr(default_factory=Source)

    @property
    def file(self) -> str:
        """Return the path of fleet.yaml."""
        return self._source.file

    @property
    def variables(self) -> dict[str, str]:
        """Return what env files defined, but for what the process's environment defines too."""
        return self._source.variables

    def where(self, *path: str | int) -> str:
        """Say where a key or list item is: `fleet.yaml:5:20`; the nearest above it if it was not written."""
        return str(tree.key_mark(self._source.root, path))

    def wrote(self, *path: str | int) -> bool:
        """Tell whether a key or list item is in the file, be it null."""
        return tree.at(self._source.root, path) is not None

    def origin(self, *path: str | int) -> str | None:
        """Return the text at a path as written, if it held a `${VAR}`; it may be shown where the value may not."""
        node = tree.at(self._source.root, path)
        return node.written if isinstance(node, tree.Scalar) else None

    def read_from(self, source: Source) -> Self:
        """Return the fleet with its places, and so its routes."""
        self._source = source
        for index, route in enumerate(self.routes):
            node = tree.at(source.root, ("routes", index))
            route._line = tree.key_mark(source.root, ("routes", index)).line
            route._text = _one_line(node) if node else ""
        return self


def _one_line(node: tree.Node) -> str:
    return ", ".join(f"{key}: {_shown(entry.node)}" for key, entry in tree.entries(node))


def _shown(node: tree.Node) -> Any:
    if isinstance(node, tree.Block):
        return f"{{{_one_line(node)}}}"
    return node.shown if isinstance(node, tree.Scalar) else tree.plain(node)

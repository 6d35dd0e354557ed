"""The Fleet: what the user declared, as frozen models whose attributes are fleet.yaml's keys; runs nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, model_validator

from celeryfleet.spec import tree
from celeryfleet.spec.crontab import valid as crontab_is_valid
from celeryfleet.spec.fields import (
    Duration,
    Flag,
    Free,
    ListSection,
    MappingSection,
    Preload,
    Size,
    Span,
    Text,
    Variable,
    Word,
    choice,
    refuse,
    short,
    whole,
)
from celeryfleet.spec.names import App, FleetName, Module, Regex, Results, TaskName, Url

#: the tasks that ship with celeryfleet, as in `celery -A`
DEMO_APP = "celeryfleet.demo"
#: replicas of one pool; more is a slip of the pen that would take the machine down
MOST_REPLICAS = 1000

_Words = tuple[Word, ...]
_Replicas = Annotated[int, whole(0, MOST_REPLICAS)]
_Positive = Annotated[int, whole(1, 2**31 - 1)]
_Priority = Annotated[int, whole(0, 255)]
_Arguments = Annotated[dict[str, Free], MappingSection]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Exchange(_Model):
    """An exchange that a queue is bound to."""

    name: Word
    type: Annotated[Literal["direct", "topic", "fanout", "headers"], choice("direct", "topic", "fanout", "headers")] = (
        "direct"
    )


class Queue(_Model):
    """A queue, as it is declared on the broker."""

    #: None: a direct exchange of the queue's own name
    exchange: Annotated[Exchange, short("name")] | None = None
    #: None: the queue's name
    routing_key: Text | None = None
    #: RabbitMQ's x-max-priority
    max_priority: Annotated[int, whole(1, 255)] | None = None
    #: messages
    max_length: _Positive | None = None
    #: None: the broker's default
    type: Annotated[Literal["classic", "quorum"], choice("classic", "quorum")] | None = None
    #: seconds after which `status` turns amber
    max_age: Duration | None = None
    arguments: _Arguments = {}


class Route(_Model):
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
        targets = [key for key in ("queue", "exchange", "routing_key", "priority") if getattr(self, key) is not None]
        if not patterns:
            raise refuse(
                "does not say which tasks it is for.", "Give it one of task, regex and router, such as task: shop.*"
            )
        if len(patterns) > 1:
            raise refuse(f"has both {patterns[0]} and {patterns[1]}.", "Keep one of them.", at=patterns[1])
        if self.router is not None and targets:
            raise refuse(f"has both router and {targets[0]}.", "A router decides by itself.", at=targets[0])
        if self.router is None and not targets:
            raise refuse("does not say where its tasks go.", "Give it a queue, such as queue: default")
        if self.queue is not None and self.exchange is not None:
            raise refuse("has both queue and exchange.", "Keep one of them.", at="exchange")
        return self


class Broker(_Model):
    """Where messages go."""

    #: `embedded`, or an URL; with its credentials
    url: Url = "embedded"
    #: seconds after which an unacknowledged message comes back; None: kombu's default
    visibility_timeout: Span | None = None
    #: path of the program for `embedded`; None: the one that is found
    server: Word | None = None


class Restart(_Model):
    """When a worker that died comes back."""

    #: seconds before the second restart; the first is immediate
    backoff: Duration = 1.0
    #: seconds
    max_backoff: Duration = 60.0
    #: deaths within `window` that make a worker failed
    max_restarts: Annotated[int, whole(0, 1_000_000)] = 5
    #: seconds
    window: Span = 300.0

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.backoff > self.max_backoff:
            raise refuse("must not be longer than max_backoff", at="backoff")
        return self


class Autoscale(_Model):
    """How many replicas a pool may have, and what makes it grow."""

    min: _Replicas = 1
    max: Annotated[int, whole(1, MOST_REPLICAS)]
    #: queued messages per replica to aim for
    target_length: _Positive | None = None
    #: seconds the oldest message may wait
    target_age: Span | None = None
    #: seconds between two changes
    cooldown: Duration = 60.0

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min > self.max:
            raise refuse(f"is {self.min}, which is more than max, {self.max}", at="min")
        return self


class Healthcheck(_Model):
    """When a worker that lives counts as stuck."""

    #: seconds without a sign of life
    heartbeat_within: Span = 30.0
    #: seconds without consuming, though it should
    consuming_within: Span = 60.0


class Pool(_Model):
    """N identical workers."""

    queues: _Words
    #: in which the queues are read: strictly in their order, or in turn
    order: Annotated[Literal["strict", "round_robin"], choice("strict", "round_robin")] = "strict"
    replicas: _Replicas = 1
    #: tasks at once in one worker; auto: the processors this process may use
    concurrency: Annotated[int | Literal["auto"], whole(1, 100_000, "auto")] = 1
    pool: Annotated[
        Literal["prefork", "threads", "gevent", "eventlet", "solo"],
        choice("prefork", "threads", "gevent", "eventlet", "solo"),
    ] = "prefork"
    #: messages taken ahead for each task at once; None: Celery's default, 0: no limit
    prefetch_multiplier: Annotated[int, whole(0, 1_000_000)] | None = None
    max_tasks_per_child: _Positive | None = None
    #: bytes
    max_memory_per_child: Size | None = None
    #: seconds
    time_limit: Span | None = None
    #: seconds
    soft_time_limit: Span | None = None
    #: seconds from the warm stop to the cold one
    stop_grace_period: Duration = 60.0
    restart: Restart = Restart()
    autoscale: Autoscale | None = None
    healthcheck: Healthcheck = Healthcheck()
    env: Annotated[dict[str, Variable], MappingSection] = {}
    #: Celery settings of these workers alone
    celery: _Arguments = {}
    #: it runs only if one of them is asked for; none: always
    profiles: Annotated[_Words, ListSection] = ()
    #: task events and heartbeats, for Flower and its like
    events: Flag = False

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        hard, soft, scale = self.time_limit, self.soft_time_limit, self.autoscale
        if hard is not None and soft is not None and soft >= hard:
            raise refuse("must be less than time_limit, or no task would see it", at="soft_time_limit")
        if scale and "replicas" in self.model_fields_set and not scale.min <= self.replicas <= scale.max:
            raise refuse(f"is {self.replicas}, but autoscale keeps it from {scale.min} to {scale.max}", at="replicas")
        return self


class Entry(_Model):
    """A task that beat sends; exactly one of crontab and every is set."""

    task: TaskName
    #: minute, hour, day of month, month, day of week
    crontab: Word | None = None
    #: seconds between two
    every: Span | None = None
    args: Annotated[tuple[Free, ...], ListSection] = ()
    kwargs: _Arguments = {}
    #: of `apply_async`: queue, priority, expires…
    options: _Arguments = {}

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        if self.crontab is not None and self.every is not None:
            raise refuse("has both crontab and every.", "Keep one of them.", at="every")
        if self.crontab is None and self.every is None:
            raise refuse("does not say when.", 'Give it crontab: "0 3 * * *" or every: 10m')
        if self.crontab is not None and not crontab_is_valid(self.crontab):
            raise refuse(
                f'is "{self.crontab}", which is no crontab',
                "Write minute, hour, day of month, month and day of week, such as 0 3 * * *",
                at="crontab",
            )
        return self


class Beat(_Model):
    """The one `celery beat` of the fleet."""

    schedule: Annotated[dict[str, Entry], MappingSection] = {}


class Logs(_Model):
    """How workers write their logs."""

    format: Annotated[Literal["text", "json"], choice("text", "json")] = "text"
    #: bytes per file
    max_size: Size = 50_000_000
    #: files per worker, the current one included
    max_files: Annotated[int, whole(1, 1000)] = 5


class TaskAlias(_Model):
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


class Fleet(_Model):
    """All that one fleet.yaml declares."""

    name: FleetName
    app: App = DEMO_APP
    #: DJANGO_SETTINGS_MODULE
    django: Module | None = None
    env_file: Annotated[_Words, ListSection] = ()
    broker: Annotated[Broker, short("url")] = Broker()
    #: `embedded` (the broker, where it can serve as one), `none`, or a result backend; with its credentials
    results: Results = "embedded"
    celery: _Arguments = {}
    queues: dict[str, Annotated[Queue, MappingSection]]
    default_queue: Word
    routes: Annotated[tuple[Route, ...], ListSection] = ()
    pools: dict[str, Pool] = {}
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
    return node.shown if isinstance(node, tree.Scalar) else tree.plain(node)

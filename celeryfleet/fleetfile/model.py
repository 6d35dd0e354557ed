"""The Fleet: what the user declared, as frozen values whose attributes are fleet.yaml's keys; runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from celeryfleet.fleetfile import fields, headers, names, tree
from celeryfleet.fleetfile.alerts import Alert
from celeryfleet.fleetfile.beat import Beat
from celeryfleet.fleetfile.cursor import Cursor, Refused
from celeryfleet.fleetfile.fields import Section, arguments, choice, key, list_of, mapping_of, section, whole
from celeryfleet.fleetfile.settings import celery_settings
from celeryfleet.fleetfile.suggest import did_you_mean

#: the tasks that ship with celeryfleet, as in `celery -A`
DEMO_APP = "celeryfleet.demo"
#: replicas of one pool; more is a typing error that would take the machine down
MOST_REPLICAS = 1000

Level = Literal["debug", "info", "warning", "error", "critical"]

_replicas = whole(0, MOST_REPLICAS)
_level = choice("debug", "info", "warning", "error", "critical")

# --- Queues and routes ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Exchange(Section):
    """An exchange that a queue is bound to."""

    name: str = key(fields.word, example="Write name: events")
    type: Literal["direct", "topic", "fanout", "headers"] = key(
        choice("direct", "topic", "fanout", "headers"), "direct"
    )


@dataclass(frozen=True, kw_only=True)
class Queue(Section):
    """A queue, as it is declared on the broker."""

    #: None: a direct exchange of the queue's own name
    exchange: Exchange | None = key(section(Exchange, short="name"), None)
    #: None: the queue's name
    routing_key: str | None = key(fields.text, None)
    #: of a headers exchange: which messages the queue gets, by their headers; empty: all
    headers: dict[str, Any] = key(headers.binding, {})
    #: RabbitMQ's x-max-priority
    max_priority: int | None = key(whole(1, 255), None)
    #: messages
    max_length: int | None = key(fields.positive, None)
    #: None: the broker's default
    type: Literal["classic", "quorum"] | None = key(choice("classic", "quorum"), None)
    #: seconds after which `status` turns amber
    max_age: float | None = key(fields.duration, None)
    arguments: dict[str, Any] = key(arguments, {})

    def contradictions(self, at: Cursor) -> Iterator[Refused]:
        """Find headers that nobody would look at."""
        if self.headers and (self.exchange is None or self.exchange.type != "headers"):
            name = self.exchange.name if self.exchange else "docs"
            hint = f"Give the queue exchange: {{name: {name}, type: headers}}, or remove them."
            yield at["headers"].refuse("decide at an exchange of type headers only", hint)


@dataclass(frozen=True, kw_only=True)
class Route(Section):
    """Which tasks go where; exactly one of task, regex and router is set."""

    #: a task's name, or a glob
    task: str | None = key(names.task, None)
    #: for the whole name
    regex: str | None = key(names.regex, None)
    #: path of a class, object or function of the user's
    router: str | None = key(names.module, None)
    queue: str | None = key(fields.word, None)
    exchange: str | None = key(fields.word, None)
    routing_key: str | None = key(fields.text, None)
    #: of the messages; those of a call stand in their place
    headers: dict[str, Any] | None = key(headers.given, None)
    #: 9 runs first
    priority: int | None = key(whole(0, 255), None)

    #: in the file
    line: int = field(default=0, compare=False)
    #: the route on one line
    text: str = field(default="", compare=False)

    def contradictions(self, at: Cursor) -> Iterator[Refused]:
        """Find a route that does not decide, or that decides twice."""
        patterns = [name for name in ("task", "regex", "router") if getattr(self, name) is not None]
        wanted = ("queue", "exchange", "routing_key", "headers", "priority")
        targets = [name for name in wanted if getattr(self, name) is not None]
        if not patterns:
            hint = "Give it one of task, regex and router, such as task: shop.*"
            yield at.refuse("does not say which tasks it is for.", hint)
        elif len(patterns) > 1:
            yield at[patterns[1]].refuse(f"cannot stand beside {patterns[0]}", "Keep one of them.")
        elif self.router is not None and targets:
            yield at[targets[0]].refuse("cannot stand beside router", "A router decides by itself.")
        elif self.router is None and not targets:
            yield at.refuse("does not say where its tasks go.", "Give it a queue, such as queue: default")
        elif self.queue is not None and self.exchange is not None:
            yield at["exchange"].refuse("cannot stand beside queue", "Keep one of them.")


# --- Pools ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Restart(Section):
    """When a worker that died comes back."""

    #: seconds before the second restart; the first is immediate
    backoff: float = key(fields.duration, 1.0)
    #: seconds
    max_backoff: float = key(fields.duration, 60.0)
    #: deaths within `window` that make a worker failed
    max_restarts: int = key(whole(0, 1_000_000), 5)
    #: seconds
    window: float = key(fields.span, 300.0)

    def contradictions(self, at: Cursor) -> Iterator[Refused]:
        """Compare the bounds."""
        if self.backoff > self.max_backoff:
            yield at["backoff"].refuse("must not be longer than max_backoff")


@dataclass(frozen=True, kw_only=True)
class Autoscale(Section):
    """How many replicas a pool may have, and what makes it grow."""

    min: int = key(_replicas, 1)
    max: int = key(whole(1, MOST_REPLICAS), example="Write max: 4")
    #: queued messages per replica to aim for
    target_length: int | None = key(fields.positive, None)
    #: seconds the oldest message may wait
    target_age: float | None = key(fields.span, None)
    #: seconds for which fewer must have been enough before it shrinks
    cooldown: float = key(fields.duration, 60.0)

    def contradictions(self, at: Cursor) -> Iterator[Refused]:
        """Compare the bounds."""
        if self.min > self.max:
            yield at["min"].refuse(f"is {self.min}, which is more than max, {self.max}")


@dataclass(frozen=True, kw_only=True)
class Healthcheck(Section):
    """When a worker that lives counts as stuck."""

    #: seconds without a sign of life
    heartbeat_within: float = key(fields.span, 30.0)
    #: seconds without consuming, though it should
    consuming_within: float = key(fields.span, 60.0)


@dataclass(frozen=True, kw_only=True)
class Pool(Section):
    """N identical workers."""

    #: one of `apps`; None: the only one
    app: str | None = key(fields.word, None)
    queues: tuple[str, ...] = key(fields.words, example="Write queues: [default]")
    #: in which the queues are read: strictly in their order, or in turn
    order: Literal["strict", "round_robin"] = key(choice("strict", "round_robin"), "strict")
    replicas: int = key(_replicas, 1)
    #: tasks at once in one worker; auto: the processors this process may use; None: as the app says, else 1
    concurrency: int | Literal["auto"] | None = key(whole(1, 100_000, "auto"), None)
    #: None: as the app says, else prefork
    pool: Literal["prefork", "threads", "gevent", "eventlet", "solo"] | None = key(
        choice("prefork", "threads", "gevent", "eventlet", "solo"), None
    )
    #: messages prefetched for each process; 0: no limit, None: as the app says
    prefetch_multiplier: int | None = key(whole(0, 1_000_000), None)
    max_tasks_per_child: int | None = key(fields.positive, None)
    #: bytes
    max_memory_per_child: int | None = key(fields.size, None)
    #: seconds
    time_limit: float | None = key(fields.span, None)
    #: seconds
    soft_time_limit: float | None = key(fields.span, None)
    #: seconds from the warm stop to the cold one
    stop_grace_period: float = key(fields.duration, 60.0)
    restart: Restart = key(section(Restart), Restart())
    #: processes that a task may end or hang before its message is parked; 0: any number, None: half of max_restarts
    park_after: int | None = key(whole(0, 1_000_000), None)
    autoscale: Autoscale | None = key(section(Autoscale), None)
    healthcheck: Healthcheck = key(section(Healthcheck), Healthcheck())
    env: dict[str, str] = key(mapping_of(fields.variable, names.variable_problem), {})
    #: Celery settings of these workers alone
    celery: dict[str, Any] = key(celery_settings, {})
    #: it runs only if one of them is asked for; none: always
    profiles: tuple[str, ...] = key(fields.words, ())
    #: task events and heartbeats, for Flower and its like; None: as the fleet or else the app says
    events: bool | None = key(fields.flag, None)
    #: what is not less than this is written to their logs; None: as the fleet's `logs` say
    log_level: Level | None = key(_level, None)

    def contradictions(self, at: Cursor) -> Iterator[Refused]:
        """Compare the limits, and the replicas with those that the autoscaler may choose."""
        hard, soft, scale = self.time_limit, self.soft_time_limit, self.autoscale
        if hard is not None and soft is not None and soft >= hard:
            yield at["soft_time_limit"].refuse("must be less than time_limit, or no task would see it")
        replicas = at["replicas"]
        if scale and replicas.written and not scale.min <= self.replicas <= scale.max:
            yield replicas.refuse(f"is {self.replicas}, but autoscale keeps it from {scale.min} to {scale.max}")


# --- The whole --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class App(Section):
    """One of several apps."""

    app: str = key(names.module, example="Write app: shop.celery")
    #: DJANGO_SETTINGS_MODULE
    django: str | None = key(names.module, None)


@dataclass(frozen=True, kw_only=True)
class Broker(Section):
    """Where messages go."""

    #: `embedded`, or an URL; with its credentials
    url: str = key(names.url, "embedded")
    #: seconds after which a message comes back that was taken and is known to nobody; None: kombu's default
    visibility_timeout: float | None = key(fields.span, None)
    #: path of the program for `embedded`; None: the one that is found
    server: str | None = key(fields.word, None)


@dataclass(frozen=True, kw_only=True)
class Logs(Section):
    """How workers write their logs."""

    format: Literal["text", "json"] = key(choice("text", "json"), "text")
    #: what is not less than this is written, by pools that do not say otherwise
    level: Level = key(_level, "info")
    #: bytes per file
    max_size: int = key(fields.size, 50_000_000)
    #: files per worker, the current one included
    max_files: int = key(whole(1, 1000), 5)


@dataclass(frozen=True, kw_only=True)
class Ledger(Section):
    """How it is written down what became of each task."""

    #: seconds
    keep: float = key(fields.span, 7 * 86400.0)
    #: bytes
    max_size: int = key(fields.size, 200_000_000)
    #: names of keyword arguments whose values are not kept
    hide: tuple[str, ...] = key(fields.words, ())


@dataclass(frozen=True, kw_only=True)
class Host(Section):
    """What runs on one of several hosts."""

    #: of pools, and beat
    pools: tuple[str, ...] = key(fields.words, example="Write pools: [web]")
    #: where it is not as many as the pool says
    replicas: dict[str, int] = key(mapping_of(_replicas), {})


def _host(at: Cursor) -> Host:
    """Read a host, of which a list alone is its pools."""
    return Host(pools=fields.words(at)) if isinstance(at.node, tree.SequenceNode) else section(Host)(at)


@dataclass(frozen=True, kw_only=True)
class TaskAlias(Section):
    """A short name for `celeryfleet send`."""

    task: str = key(names.task, example="Write task: shop.tasks.report")


@dataclass(frozen=True, kw_only=True)
class Fleet(Section):
    """All that one fleet.yaml declares."""

    #: by default, made of the folder's name
    name: str = key(names.fleet, "")
    app: str = key(names.module, DEMO_APP)
    #: DJANGO_SETTINGS_MODULE
    django: str | None = key(names.module, None)
    #: in place of app and django, where the fleet runs several
    apps: dict[str, App] = key(mapping_of(section(App, short="app"), names.pool_problem), {})
    env_file: tuple[str, ...] = key(fields.one_or_more(fields.word), ())
    broker: Broker = key(section(Broker, short="url"), Broker())
    #: `embedded` (the broker, where it can serve as one), `none`, or a result backend; with its credentials
    results: str = key(names.results, "embedded")
    celery: dict[str, Any] = key(celery_settings, {})
    queues: dict[str, Queue] = key(mapping_of(section(Queue, optional=True), names.queue_problem), {})
    #: by default, the queue of that name, else the first
    default_queue: str = key(fields.word, "")
    routes: tuple[Route, ...] = key(list_of(section(Route)), ())
    pools: dict[str, Pool] = key(
        mapping_of(section(Pool, example="Write queues: [default] under it."), names.pool_problem), {}
    )
    preload: Literal["auto", "true", "false"] = key(fields.preload, "auto")
    #: of pools that do not say otherwise; None: as the app says
    events: bool | None = key(fields.flag, None)
    beat: Beat | None = key(fields.switched(section(Beat, optional=True), Beat()), None)
    logs: Logs = key(section(Logs, optional=True), Logs())
    #: None: it is not written down
    ledger: Ledger | None = key(fields.switched(section(Ledger, optional=True), Ledger()), Ledger())
    #: by their names; none: each runs what `up` is told
    hosts: dict[str, Host] = key(mapping_of(_host, names.fleet_problem), {})
    alerts: tuple[Alert, ...] = key(list_of(section(Alert)), ())
    tasks: dict[str, TaskAlias] = key(mapping_of(section(TaskAlias, short="task"), names.alias_problem), {})
    canvases: dict[str, str] = key(mapping_of(fields.word, names.alias_problem), {})

    #: path of fleet.yaml, absolute if `load.read` read it
    file: str = field(default="fleet.yaml", compare=False)
    #: what env files defined and the process's environment did not
    variables: dict[str, str] = field(default_factory=dict, compare=False)
    #: all the files, merged and interpolated
    root: tree.Node = field(default=tree.MappingNode({}, tree.Mark("fleet.yaml")), compare=False, repr=False)

    @property
    def named_apps(self) -> dict[str, App]:
        """Return its apps by their names; a fleet that names none has one, whose name is empty."""
        return self.apps or {"": App(app=self.app, django=self.django)}

    def app_of(self, part: Pool | Beat) -> str:
        """Name the app of a pool or of beat."""
        return part.app or next(iter(self.named_apps))

    @classmethod
    def guess(cls, name: str) -> str:
        """Say of an unknown key what it could be: a key of a pool, perhaps, which stands too far to the left."""
        homes = [home for home, kind in (("pool", Pool), ("queue", Queue)) if name in kind.known()]
        return f"It is a key of a {homes[0]}." if homes and not did_you_mean(name, cls.known()) else super().guess(name)

    def where(self, *path: str | int) -> str:
        """Say where a key or list item is: `fleet.yaml:5:20`; the nearest above it if it was not written."""
        cursor = Cursor.of(self.root)
        for step in path:
            cursor = cursor[step]
        return str(cursor.key)

    def wrote(self, *path: str | int) -> bool:
        """Tell whether a key or list item is in the file, with a value or without."""
        return tree.at(self.root, path) is not None

    def origin(self, *path: str | int) -> str | None:
        """Return the text at a path as written, if it held a `${VAR}`; it may be shown where the value may not."""
        node = tree.at(self.root, path)
        return node.written if isinstance(node, tree.ScalarNode) else None

"""The Plan: what should run, as frozen values that travel as JSON; light enough for the supervisor to import."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count, islice
from typing import Any, TypeVar

from celeryfleet.routing.queue import Queue
from celeryfleet.routing.table import RoutingTable

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a worker that died comes back."""

    #: seconds before the second restart; the first is immediate
    backoff: float = 1.0
    #: seconds, the longest wait between two restarts
    max_backoff: float = 60.0
    #: deaths within `window` that make the worker failed
    max_restarts: int = 5
    #: seconds over which deaths are counted
    window: float = 300.0


@dataclass(frozen=True, slots=True)
class Health:
    """When a worker that lives counts as stuck."""

    #: seconds without a sign of life
    heartbeat_within: float = 30.0
    #: seconds without consuming, though it should
    consuming_within: float = 60.0


@dataclass(frozen=True, slots=True)
class AutoscalePolicy:
    """How many replicas a pool may have, and what makes it grow."""

    min: int
    max: int
    #: queued messages per replica to aim for; None: not looked at
    target_length: int | None = None
    #: seconds the oldest message may wait; None: not looked at
    target_age: float | None = None
    #: seconds for which fewer must have been enough before it shrinks
    cooldown: float = 60.0


@dataclass(frozen=True, slots=True)
class AppPlan:
    """One of the apps of a fleet."""

    #: empty: it is the only one, and fleet.yaml gives it none
    name: str
    #: `module[:attr]`
    path: str
    #: DJANGO_SETTINGS_MODULE, or empty
    django: str = ""

    @property
    def preload_log(self) -> str:
        """Name the log of its fork server."""
        return f"preload-{self.name}" if self.name else "preload"

    def __str__(self) -> str:
        return f"the app {self.name}" if self.name else "the app"


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker to start: everything its process needs to know about itself."""

    name: str
    pool: str
    #: `web-1@shop.host`
    node: str
    #: the command line that `ps` shows and that does the same by hand
    argv: tuple[str, ...]
    #: keyword arguments of `app.Worker`
    options: dict[str, Any]
    #: Celery settings of this worker alone, on top of the fleet's
    conf: dict[str, Any]
    #: those that hold where neither fleet.yaml nor the app says anything
    defaults: dict[str, Any]
    env: dict[str, str]
    #: fork from the preloaded server (else exec)
    fork: bool
    digest: str
    #: the name of its app
    app: str = ""


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """N identical workers."""

    name: str
    queues: tuple[str, ...]
    replicas: int
    #: `{name}` and `{node}` are filled in per worker
    argv: tuple[str, ...]
    options: dict[str, Any]
    conf: dict[str, Any]
    env: dict[str, str]
    fork: bool
    #: settings that hold where neither `conf` nor the app says anything
    defaults: dict[str, Any] = field(default_factory=dict)
    #: why the pool is exec'd though preload was asked for; empty if it forks
    exec_reason: str = ""
    #: seconds from the warm stop to the cold one
    grace: float = 60.0
    restart: RestartPolicy = RestartPolicy()
    health: Health = Health()
    autoscale: AutoscalePolicy | None = None
    #: a task that has ended or hung so many processes is parked; 0: none is
    park_after: int = 3
    #: the name of its app
    app: str = ""
    #: of its workers, where these are not 1 to `replicas`: others than the latest were stopped
    some_numbers: tuple[int, ...] = ()

    @property
    def implementation(self) -> str:
        """Name what its tasks run in, as far as it is known: prefork, threads, gevent, eventlet, solo."""
        return str({**self.defaults, **self.conf}["worker_pool"])

    @property
    def concurrency(self) -> int:
        """Return the tasks at once in one worker, as far as they are known."""
        return int({**self.defaults, **self.conf}["worker_concurrency"])

    @property
    def strict(self) -> bool:
        """Whether its workers read their queues strictly in their order, as they can on a Redis."""
        return (self.conf.get("broker_transport_options") or {}).get("queue_order_strategy") == "priority"

    def settled(self, own: Mapping[str, Any]) -> PoolPlan:
        """Return it with what the app says itself in the place of our defaults."""
        said = {key: own[key] for key in self.defaults if own.get(key) is not None}
        return replace(self, conf={**self.defaults, **said, **self.conf}, defaults={})

    @property
    def numbers(self) -> tuple[int, ...]:
        """Return its workers' numbers, ascending."""
        return self.some_numbers or tuple(range(1, self.replicas + 1))

    def sized(self, replicas: int, first: Sequence[int] = (), taken: Collection[int] = ()) -> PoolPlan:
        """Return it with another number of replicas.

        Of fewer those that are `first` are left out first, then the latest; more have numbers that are not `taken`.
        """
        going = [*(number for number in first if number in self.numbers), *reversed(self.numbers)]
        gone = set(list(dict.fromkeys(going))[: max(0, self.replicas - replicas)])
        kept = [number for number in self.numbers if number not in gone]
        free = (number for number in count(1) if number not in kept and number not in taken)
        numbers = tuple(sorted([*kept, *islice(free, max(0, replicas - len(kept)))]))
        usual = numbers == tuple(range(1, replicas + 1))
        return replace(self, replicas=replicas, some_numbers=() if usual else numbers)

    def worker_name(self, number: int) -> str:
        """Name the worker with this number, counted from 1."""
        return f"{self.name}-{number}"


def number_of(worker: str) -> int:
    """Return a worker's number in its pool, out of its name."""
    return int(worker.rpartition("-")[2])


@dataclass(frozen=True, slots=True)
class BrokerPlan:
    """Where messages go."""

    #: with its credentials; never to be printed (see `shown`)
    url: str
    #: the same without credentials
    shown: str
    #: result backend URL, with its credentials
    results: str
    #: the server to run as part of the fleet; empty: the broker is somebody else's
    argv: tuple[str, ...] = ()
    #: where that server keeps its data
    data: str = ""
    #: unix socket of that server
    socket: str = ""
    #: `redis` (Redis, Valkey and their like) or `amqp` or `other`
    transport: str = "redis"
    #: priority steps, lowest number first; Redis only
    steps: tuple[int, ...] = tuple(range(10))
    #: between the queue's name and the step in the name of a list
    sep: str = "\x06\x16"
    #: prepended to every key; Redis only
    key_prefix: str = ""


@dataclass(frozen=True, slots=True)
class BeatPlan:
    """The one `celery beat` of the fleet."""

    argv: tuple[str, ...]
    #: settings of this process alone, as JSON; what is not in it is as the app says
    conf: dict[str, Any]
    #: where Celery's own scheduler keeps when each task was last sent
    file: str
    #: the name of its app
    app: str = ""
    #: fork from the preloaded server (else exec), as the workers of its app do
    fork: bool = False
    #: seconds that its lease lasts, of which one of several hosts has one; 0: nobody shares its broker
    lease: float = 0.0

    @property
    def schedule(self) -> dict[str, Any]:
        """Return `beat_schedule` as fleet.yaml says it; empty: it is the app's."""
        schedule: dict[str, Any] = self.conf.get("beat_schedule", {})
        return schedule

    @property
    def scheduler(self) -> str:
        """Name its scheduler as fleet.yaml does; empty: it is the app's."""
        return str(self.conf.get("beat_scheduler", ""))


@dataclass(frozen=True, slots=True)
class LogPlan:
    """How workers write their logs."""

    #: text or json
    format: str = "text"
    #: debug, info, warning, error or critical; a pool's own is in its options
    level: str = "info"
    #: bytes per file
    max_size: int = 50_000_000
    #: files per worker, the current one included
    max_files: int = 5


@dataclass(frozen=True, slots=True)
class LedgerPlan:
    """Where it is written down what became of each task."""

    #: absolute path
    file: str
    #: seconds
    keep: float
    #: bytes
    max_size: int
    #: names of keyword arguments whose values are not kept
    hide: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AlertPlan:
    """Something that somebody is told of once when it begins, and once when it is over."""

    #: one of fleetfile.alerts.KINDS
    when: str
    #: what it is about, with the seconds, messages or share that are too much: queues or pools by their names, or beat
    over: dict[str, float]
    #: seconds for which it must have been so, or over which it is measured
    hold: float
    command: tuple[str, ...] = ()
    #: URL, with its credentials; never to be printed
    webhook: str = field(default="", repr=False)
    #: json or slack
    format: str = "json"


@dataclass(frozen=True, slots=True)
class Plan:
    """All that should run for one fleet."""

    fleet: str
    #: absolute path of fleet.yaml; its folder is where everything runs
    file: str
    #: absolute path of the folder that holds logs, data, lock and sockets
    state_dir: str
    #: absolute path of the control socket (may lie elsewhere when state_dir is too long for a socket)
    control: str
    apps: tuple[AppPlan, ...]
    #: Celery settings in JSON's types; see plan/settings.py for how queues and routes are written
    settings: dict[str, Any]
    #: variables of env_file, for every process
    env: dict[str, str]
    broker: BrokerPlan
    queues: tuple[Queue, ...]
    pools: tuple[PoolPlan, ...]
    beat: BeatPlan | None = None
    logs: LogPlan = LogPlan()
    ledger: LedgerPlan | None = None
    alerts: tuple[AlertPlan, ...] = ()
    #: auto, true or false
    preload: str = "auto"
    #: changed by `reload`, so that every worker is replaced
    generation: int = 0
    #: pools whose workers go on as they are, whatever else of the plan has changed: an `up` that names others
    left_alone: tuple[str, ...] = ()
    #: the name of the host that it runs on
    host: str = ""
    #: the hosts that fleet.yaml names, and the queues that are read on each
    hosts: dict[str, list[str]] = field(default_factory=dict)
    #: settings that came from a `${VAR}`, as they are written, by their path (`a/b`): what is printed of them
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def routing(self) -> RoutingTable:
        """Return all that decides where a message goes."""
        confirmed = self.settings.get("broker_transport_options", {}).get("confirm_publish")
        return RoutingTable(
            queues=self.queues,
            broker=self.broker.transport,
            default_queue=self.settings["task_default_queue"],
            default_key=self.settings["task_default_routing_key"],
            routes=self.settings["task_routes"],
            pools={pool.name: pool.queues for pool in self.pools},
            creates=bool(self.settings.get("task_create_missing_queues")),
            gives_back=self.broker.transport == "amqp" and bool(confirmed),
        )

    @property
    def parked(self) -> str:
        """Name the queue in which messages lie whose tasks ended or hung their workers again and again."""
        return f"{self.fleet}.failed"

    def worker(self, pool: PoolPlan, number: int) -> WorkerSpec:
        """Spell out one worker of a pool."""
        name = pool.worker_name(number)
        node = pool.options["hostname"].replace("{name}", name)
        conf = json.loads(json.dumps(pool.conf).replace("{node}", node))
        spec = WorkerSpec(
            name=name,
            pool=pool.name,
            node=node,
            argv=tuple(part.replace("{node}", node) for part in pool.argv),
            options={**pool.options, "hostname": node},
            conf=conf,
            defaults=pool.defaults,
            env={**self.env, **pool.env},
            fork=pool.fork,
            digest="",
            app=pool.app,
        )
        return replace(spec, digest=self._digest(spec))

    def _digest(self, spec: WorkerSpec) -> str:
        """Fingerprint all that a worker would have to be replaced for."""
        told = (self.logs.format, self.ledger and self.ledger.hide)
        app = self.app(spec.app)
        whole = (asdict(spec), asdict(app), self.settings, self.broker.url, told, self.generation)
        text = json.dumps(whole, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def after(self, running: Plan) -> Plan:
        """Return the plan for a fleet that runs another: a new generation if the preloaded app would be another."""
        ours, theirs = ((plan.apps, plan.settings, plan.env) for plan in (self, running))
        if ours == theirs or self.generation != running.generation:
            return self
        return replace(self, generation=running.generation + 1)

    def beside(self, running: Plan, pools: Collection[str]) -> Plan:
        """Return the plan for these pools alone, beside all others of the plan that runs."""
        ours = {pool.name: pool for pool in self.pools if pool.name in pools}
        merged = {pool.name: pool for pool in running.pools} | ours
        others = tuple(name for name in (*merged, "beat") if name not in pools)
        beat = self.beat if "beat" in pools else running.beat
        apps = {app.name: app for app in (*running.apps, *self.apps)}
        return replace(self, apps=tuple(apps.values()), pools=tuple(merged.values()), beat=beat, left_alone=others)

    def without(self, pools: Collection[str]) -> Plan:
        """Return the plan without these pools."""
        rest = tuple(pool for pool in self.pools if pool.name not in pools)
        return replace(self, pools=rest, beat=None if "beat" in pools else self.beat)

    def app(self, name: str) -> AppPlan:
        """Return an app by its name."""
        return next(app for app in self.apps if app.name == name)

    def pool(self, name: str) -> PoolPlan | None:
        """Find a pool by its name."""
        return next((pool for pool in self.pools if pool.name == name), None)

    def settled(self, says: Callable[[str], Mapping[str, Any]]) -> Plan:
        """Return the plan as it is with apps that make such settings, which are asked for by an app's name."""
        return replace(self, pools=tuple(pool.settled(says(pool.app)) for pool in self.pools))

    def scaled(self, replicas: dict[str, int]) -> Plan:
        """Return the plan with other numbers of replicas."""
        return replace(self, pools=tuple(pool.sized(replicas.get(pool.name, pool.replicas)) for pool in self.pools))

    def to_json(self) -> dict[str, Any]:
        """Return JSON's types; `from_json` is the way back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Plan:
        """Rebuild a plan from `to_json`'s value."""
        return _rebuilt(cls, data)


_PARTS: Mapping[str, type[Any]] = {
    "apps": AppPlan,
    "broker": BrokerPlan,
    "queues": Queue,
    "pools": PoolPlan,
    "restart": RestartPolicy,
    "health": Health,
    "autoscale": AutoscalePolicy,
    "beat": BeatPlan,
    "logs": LogPlan,
    "ledger": LedgerPlan,
    "alerts": AlertPlan,
}
#: fields whose keys are not ours
_FREE = ("settings", "env", "options", "conf", "defaults", "origins", "arguments", "headers", "hosts", "over")


def _rebuilt(kind: type[P], data: Mapping[str, Any]) -> P:
    return kind(**{name: value if name in _FREE else _part(name, value) for name, value in data.items()})


def _part(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_part(name, item) for item in value)
    return _rebuilt(_PARTS[name], value) if isinstance(value, dict) else value

"""The messages between a supervisor and its callers: requests, replies, and what a fleet is like."""

from collections.abc import Iterable

from celeryfleet.records import Record

# --- What a fleet is like ---------------------------------------------------------------------------------


class LastExit(Record):
    """How a worker's last process ended."""

    #: exit code, or minus the signal's number
    code: int
    #: its name
    signal: str | None
    #: unix seconds
    at: float
    reason: str
    #: the last lines of its log
    log: tuple[str, ...] = ()


class WorkerStatus(Record):
    """A worker as it is shown."""

    hidden = ("cause", "reserved")
    name: str
    node: str
    pid: int | None
    state: str
    uptime_s: float = 0.0
    restarts: int = 0
    active: int = 0
    processed: int = 0
    failed: int = 0
    rss_bytes: int | None = None
    last_exit: LastExit | None = None
    #: why it is in this state; of a ready one, what keeps it from its work
    cause: str = ""
    #: tasks that it has, running or taken ahead
    reserved: int = 0


class PoolStatus(Record):
    """A pool as it is shown."""

    hidden = ("implementation", "concurrency", "reason")
    name: str
    queues: tuple[str, ...]
    want: int
    ready: int
    workers: tuple[WorkerStatus, ...]
    #: prefork, threads, gevent, eventlet, solo
    implementation: str
    concurrency: int
    #: why it is not ready; empty if it is
    reason: str = ""


class QueueStatus(Record):
    """A queue as it is shown; what is None is not known."""

    hidden = ("max_age",)
    name: str
    ready: int | None = None
    unacked: int | None = None
    oldest_age_s: float | None = None
    consumers: int = 0
    #: seconds
    max_age: float | None = None


class SupervisorStatus(Record):
    """The supervisor as it is shown."""

    pid: int | None = None
    uptime_s: float | None = None


class BrokerStatus(Record):
    """The broker as it is shown: its URL without credentials."""

    hidden = ("embedded", "trouble")
    url: str
    #: up or down
    state: str = "up"
    embedded: bool = False
    #: why it cannot be reached
    trouble: str = ""


#: settings that say how a broker is connected to
CONNECTING = (
    *("broker_use_ssl", "broker_login_method", "broker_transport", "broker_transport_options"),
    "broker_failover_strategy",
)
#: the header of a message that a worker has set aside, and the properties that stay with it
PARKED_HEADER = "fleet_parked"
PARKED_PROPERTIES = ("correlation_id", "reply_to", "delivery_mode")


class Backlog(Record):
    """How to ask the broker what waits."""

    #: with credentials
    url: str
    #: redis, amqp or other
    transport: str = "redis"
    #: Celery's, of connecting
    settings: dict[str, object] = {}
    #: of priorities, and what stands before a step in a list's name; Redis only, as are the next two
    steps: tuple[int, ...] = (0,)
    sep: str = ""
    key_prefix: str = ""
    #: each key of unacknowledged messages with the queues that its worker reads; none: any
    unacked: dict[str, tuple[str, ...]] = {}
    #: name, exchange, exchange_type and routing_key of each queue
    queues: tuple[dict[str, str], ...] = ()
    #: the queue of messages set aside, since their tasks ended or hung their workers; shown if there are any
    parked: str = ""


class Depths(Record):
    """How many messages wait in each queue, or what keeps that from being known."""

    ready: dict[str, int]
    trouble: str = ""


class Delivery(Record):
    """An alert that is to be told, and whom."""

    #: JSON
    body: str
    #: the same when it is told again, since it is not known whether it has come
    id: str
    #: a program that reads the body, or else an URL that it is sent to
    command: tuple[str, ...] = ()
    webhook: str = ""
    #: seconds for each try, and between two tries
    timeout: float = 10.0
    pauses: tuple[float, ...] = (1.0, 5.0, 20.0)


class AlertStatus(Record):
    """An alert that is on."""

    #: what fleet.yaml has as `when`
    alert: str
    #: a queue, a pool, a worker or beat
    what: str
    text: str
    #: ISO 8601, UTC
    since: str


class Status(Record):
    """A fleet as it is shown."""

    hidden = ("reason", "notes", "paused", "paused_s", "paused_by", "backlog", "host", "hosts", "alerts")
    fleet: str
    #: ready, degraded, starting, stopping or down
    state: str
    supervisor: SupervisorStatus
    broker: BrokerStatus
    pools: tuple[PoolStatus, ...]
    queues: tuple[QueueStatus, ...]
    #: why it is not ready; empty if it is
    reason: str
    #: what a user should know beside the numbers
    notes: tuple[str, ...]
    paused: tuple[str, ...]
    backlog: Backlog
    #: for how many seconds, by queue
    paused_s: dict[str, float] = {}
    #: who has paused it on all hosts, by queue
    paused_by: dict[str, str] = {}
    #: the name of the host that it runs on
    host: str = ""
    #: the hosts that fleet.yaml names, and the queues that are read on each
    hosts: dict[str, tuple[str, ...]] = {}
    alerts: tuple[AlertStatus, ...] = ()


def read_elsewhere(status: Status, queue: str) -> "list[str]":
    """Name the other hosts that read a queue, as fleet.yaml says."""
    return [host for host, queues in status.hosts.items() if queue in queues and host != status.host]


# --- Requests to the supervisor, and replies --------------------------------------------------------------


class GetStatus(Record):
    """Reply with a Status: exact, of this moment, or what is known without asking the workers."""

    exact: bool = True


class GetTasks(Record):
    """Reply with the names of the app's Tasks."""


class IsRevoked(Record):
    """Reply with a Verdict: whether workers drop the task of this id."""

    id: str


class GetPlan(Record):
    """Reply with the Running plan."""


class Apply(Record):
    """Follow this plan; or reply with the Difference that it would make."""

    plan: dict[str, object]
    #: replace every worker by one that reads the app's code anew
    reload: bool = False
    #: pools to act on, and to leave the others as they run; none: all
    only: tuple[str, ...] = ()
    dry_run: bool = False


class Scale(Record):
    """Change the number of replicas of these pools."""

    replicas: dict[str, int]


class Restart(Record):
    """Replace the workers of these pools; none: of all."""

    pools: tuple[str, ...] = ()
    rolling: bool = False


class Pause(Record):
    """Leave these queues alone, and no others: on all hosts, or here alone."""

    queues: tuple[str, ...]
    here: bool = False
    #: those that were named: what is said of them holds on all hosts, though here it may be so already
    named: tuple[str, ...] = ()
    #: who wants it
    by: str = ""


class Mark(Record):
    """Whether a queue is paused on all hosts, and who said so last."""

    queue: str
    #: goes up with each change; of two that are the same, the later `by` of the alphabet holds
    version: int
    paused: bool
    by: str
    #: unix seconds, by the clock of the host where it was said
    at: float


class Marks(Record):
    """Follow those of these marks that are newer than what is known."""

    marks: tuple[Mark, ...]
    #: unix seconds, as it is read
    now: float = 0.0


def newer(marks: Iterable[Mark], than: Iterable[Mark]) -> tuple[Mark, ...]:
    """Return the marks that are newer than those of the same queues."""
    known = {mark.queue: (mark.version, mark.by) for mark in than}
    return tuple(mark for mark in marks if (mark.version, mark.by) > known.get(mark.queue, (0, "")))


class Stop(Record):
    """Stop these pools, or with none the whole fleet; `grace` is seconds, None: each pool's own."""

    cold: bool = False
    grace: float | None = None
    pools: tuple[str, ...] = ()


class Wait(Record):
    """Reply when the fleet, or these pools of it, are Settled, or `timeout` seconds are over."""

    timeout: float | None = None
    #: ready; imported: the app is; gone: nothing of these pools runs; failed: no worker of theirs comes back by itself
    until: str = "ready"
    pools: tuple[str, ...] = ()


class Revoke(Record):
    """Have the workers throw these tasks away, by their ids, and end those that run if that is wanted."""

    ids: tuple[str, ...]
    terminate: bool = False


class WriteLedger(Record):
    """Reply that all that the workers know of their tasks now is Written into the ledger."""


class ShowPage(Record):
    """Have the web page run by these words of a command line, beside the fleet; reply with where it is Shown."""

    words: tuple[str, ...]


class Attach(Record):
    """Stop these pools, or with none the fleet, when this connection ends."""

    pools: tuple[str, ...] = ()


Request = (
    GetStatus
    | GetTasks
    | GetPlan
    | IsRevoked
    | Apply
    | Scale
    | Restart
    | Pause
    | Stop
    | Wait
    | WriteLedger
    | Revoke
    | ShowPage
    | Attach
)


class Done(Record):
    """It is done, or under way."""


class Written(Record):
    """It is written; else why not, in a sentence."""

    trouble: str


class Refused(Record):
    """It is not done."""

    what: str
    hint: str = ""
    #: the exit code of a command
    code: int = 1


class Shown(Record):
    """The page is there."""

    url: str


class Locked(Record):
    """Another supervisor holds the fleet's lock."""


class Tasks(Record):
    """The names of the tasks that the app has registered."""

    names: tuple[str, ...]


class Verdict(Record):
    """Whether that is so."""

    yes: bool


class Running(Record):
    """The plan that a supervisor follows."""

    plan: dict[str, object]


class Settled(Record):
    """True: it has become what was waited for; False: it can't become so; None: not yet."""

    done: bool | None
    status: Status


class Change(Record):
    """One thing that a plan would do, and why."""

    #: start, stop, replace, scale or keep
    do: str
    #: a worker, or the pool that is scaled
    what: str
    because: str

    def __str__(self) -> str:
        return f"{self.do} {self.what}: {self.because}"


class Difference(Record):
    """All that a plan would do."""

    actions: tuple[Change, ...]

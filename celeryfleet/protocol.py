"""The messages between a supervisor and its callers: requests, replies, and what a fleet is like."""

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

    hidden = ("cause",)
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


class Status(Record):
    """A fleet as it is shown."""

    hidden = ("reason", "notes", "paused", "backlog")
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


# --- Requests to the supervisor, and replies --------------------------------------------------------------


class GetStatus(Record):
    """Reply with a Status: exact, of this moment, or what is known without asking the workers."""

    exact: bool = True


class GetTasks(Record):
    """Reply with the names of the app's Tasks."""


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
    """Leave these queues alone, and no others."""

    queues: tuple[str, ...]


class Stop(Record):
    """Stop the whole fleet; `grace` is seconds, None: each pool's own."""

    cold: bool = False
    grace: float | None = None


class Wait(Record):
    """Reply when the fleet is Settled, or the app is imported if that is all, or `timeout` seconds are over."""

    timeout: float | None = None
    imported: bool = False


class Attach(Record):
    """Stop the fleet when this connection ends."""


Request = GetStatus | GetTasks | GetPlan | Apply | Scale | Restart | Pause | Stop | Wait | Attach


class Done(Record):
    """It is done, or under way."""


class Refused(Record):
    """It is not done."""

    what: str
    hint: str = ""
    #: the exit code of a command
    code: int = 1


class Locked(Record):
    """Another supervisor holds the fleet's lock."""


class Tasks(Record):
    """The names of the tasks that the app has registered."""

    names: tuple[str, ...]


class Running(Record):
    """The plan that a supervisor follows."""

    plan: dict[str, object]


class Settled(Record):
    """True: all that is wanted is ready; False: it can't become so; None: not yet."""

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

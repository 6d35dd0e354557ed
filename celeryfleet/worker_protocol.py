"""The messages between a supervisor, its fork server and its workers."""

import signal
from typing import NamedTuple

from celeryfleet.records import Record

#: bytes of what a worker says at once, at most: a task may have written it
WORKER_LIMIT = 4 * 1024 * 1024
#: at which a process writes its stacks into its log; one that does not listen ignores this signal
STACK_SIGNAL = signal.SIGWINCH
#: flags of `celery worker` → the settings that they are
FLAGS = {
    "-c": "worker_concurrency",
    "-P": "worker_pool",
    "--prefetch-multiplier": "worker_prefetch_multiplier",
    "--max-tasks-per-child": "worker_max_tasks_per_child",
    "--max-memory-per-child": "worker_max_memory_per_child",
    "--time-limit": "task_time_limit",
    "--soft-time-limit": "task_soft_time_limit",
}
#: bytes of a running task's place in the file that tells which run
RUNNING_BYTES = 512


class Ran(NamedTuple):
    """A task that runs, or did when its process ended."""

    id: str
    task: str
    #: whether it is acknowledged when it has ended, and so comes again
    late: bool

    def encode(self) -> bytes:
        """Return what stands in its place."""
        text = f"{self.id}\n{'late' if self.late else ''}\n{self.task}"
        return text.encode()[:RUNNING_BYTES].ljust(RUNNING_BYTES, b"\0")


def running(data: bytes) -> dict[int, Ran]:
    """Read which tasks ran, by place."""
    found = {}
    for place, start in enumerate(range(0, len(data), RUNNING_BYTES)):
        if data[start]:
            text = data[start : start + RUNNING_BYTES].rstrip(b"\0").decode(errors="replace")
            task_id, _, rest = text.partition("\n")
            late, _, name = rest.partition("\n")
            found[place] = Ran(task_id, name, bool(late))
    return found


# --- What a worker says -----------------------------------------------------------------------------------


class Hello(Record):
    """I have started."""

    pid: int


class Ready(Record):
    """I consume for the first time, know these tasks, and am of this kind: what the app may have said."""

    tasks: tuple[str, ...]
    #: prefork, threads, gevent, eventlet, solo, or a class
    pool: str = ""
    concurrency: int = 0


class Beat(Record):
    """How I am now."""

    active: int = 0
    reserved: int = 0
    processed: int = 0
    failed: int = 0
    consuming: bool = False
    #: trying to reach the broker
    connecting: bool = False
    #: a task runs in the worker's own loop (solo): silence is no sign of death
    loop_busy: bool = False
    #: the queues it really reads, in the alphabet's order, whoever told it so
    queues: tuple[str, ...] = ()
    #: of a beat that sends nothing: where the one is that does (`host a`, `another host`)
    standby: str = ""
    #: the number of the poke that this answers
    poke: int | None = None


class Revoked(Record):
    """These tasks are revoked."""

    ids: tuple[str, ...]


class Restored(Record):
    """I have brought back the messages of these dead nodes."""

    nodes: tuple[str, ...]


class Strikes(Record):
    """How often these tasks, by id, have ended or hung a process; 0: that is over. Said and told."""

    counts: dict[str, int]


class Recorded(Record):
    """What has become of tasks: rows of `ledger.entry.TOLD`, in the order in which it happened."""

    rows: tuple[object, ...]


Said = Hello | Ready | Beat | Revoked | Restored | Strikes


# --- What a worker is told --------------------------------------------------------------------------------


class Poke(Record):
    """Say at once how you are."""

    poke: int


class TellAnew(Record):
    """Tell the ledger once more of all tasks that you hold."""


class Restore(Record):
    """Bring back the messages of these dead nodes."""

    nodes: tuple[str, ...]


class Read(Record):
    """Read these queues, and no others."""

    queues: tuple[str, ...]


class Revoke(Record):
    """Throw these tasks away, by their ids, and end those that run if that is wanted."""

    ids: tuple[str, ...]
    terminate: bool


Told = Poke | TellAnew | Restore | Read | Revoke | Strikes


class App(Record):
    """Which app a process loads, with which settings."""

    app: str
    django: str
    folder: str
    settings: dict[str, object]
    settings_file: str


class LogFile(Record):
    """Where a process logs: bytes of a file, and how many files."""

    path: str
    max_size: int
    max_files: int


class Start(Record):
    """Be this worker; the first five and the defaults are its WorkerSpec's."""

    name: str
    argv: tuple[str, ...]
    options: dict[str, object]
    conf: dict[str, object]
    env: dict[str, str]
    log: LogFile
    #: text or json
    log_format: str
    #: a folder of its own, for shared memory
    scratch: str
    #: seconds of silence at most
    keepalive: float
    #: seconds after which a child that can't work is killed
    patience: float
    #: the file that tells which tasks run
    running: str
    #: settings that hold where neither `conf` nor the app says anything
    defaults: dict[str, object] = {}
    #: a task that has ended or hung so many processes is parked in this queue; 0: none is
    park_after: int = 0
    parked: str = ""
    #: how often tasks, by id, have done so
    strikes: dict[str, int] = {}
    #: nodes whose messages it brings back whenever it connects
    restore: tuple[str, ...] = ()
    #: the fleet, and who owns its nodes here; empty: nobody else uses its broker, or it is no Redis
    fleet: str = ""
    owner: str = ""
    #: ids of tasks
    revoked: tuple[str, ...] = ()
    #: queues to leave alone from the first
    paused: tuple[str, ...] = ()
    #: what becomes of tasks is told, but for the values of keyword arguments of these names
    ledger: bool = True
    hide: tuple[str, ...] = ()


class Exec(Record):
    """Be this worker, in a process that loads the app by itself."""

    app: App
    start: Start
    #: pid
    supervisor: int
    #: whether it has said hello
    greeted: bool = False


class Preload(Record):
    """Import the app, and be ready to fork workers from it."""

    app: App
    env: dict[str, str]
    log: LogFile
    #: of the beat that is to be forked; empty: the app's own, None: there is none
    scheduler: str | None = None


class Preloaded(Record):
    """The app is imported; `unsafe` says why it must not be forked, if so."""

    unsafe: str
    tasks: tuple[str, ...]
    seconds: float


class Broken(Record):
    """The app does not import."""

    error: str

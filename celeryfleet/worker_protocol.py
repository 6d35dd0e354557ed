"""The messages between a supervisor, its fork server and its workers."""

import signal

from celeryfleet.records import Record

#: bytes of what a worker says at once, at most: a task may have written it
WORKER_LIMIT = 4 * 1024 * 1024
#: at which a process writes its stacks into its log; one that does not listen ignores this signal
STACK_SIGNAL = signal.SIGWINCH
#: bytes of a running task's place in the file that tells which run: its id and its name
RUNNING_BYTES = 512


def running(data: bytes) -> dict[int, tuple[str, str]]:
    """Read which tasks ran: (id, name) by place."""
    found = {}
    for place, start in enumerate(range(0, len(data), RUNNING_BYTES)):
        if data[start]:
            text = data[start : start + RUNNING_BYTES].rstrip(b"\0").decode(errors="replace")
            found[place] = (text.partition("\n")[0], text.partition("\n")[2])
    return found


# --- What a worker says -----------------------------------------------------------------------------------


class Hello(Record):
    """I have started."""

    pid: int


class Ready(Record):
    """I consume for the first time, and know these tasks."""

    tasks: tuple[str, ...]


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


Said = Hello | Ready | Beat | Revoked | Restored | Strikes


# --- What a worker is told --------------------------------------------------------------------------------


class Poke(Record):
    """Say at once how you are."""

    poke: int


class Restore(Record):
    """Bring back the messages of these dead nodes."""

    nodes: tuple[str, ...]


class Read(Record):
    """Read these queues, and no others."""

    queues: tuple[str, ...]


Told = Poke | Restore | Read | Strikes


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
    """Be this worker; the first five are its WorkerSpec's."""

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
    #: a task that has ended or hung so many processes is parked in this queue; 0: none is
    park_after: int = 0
    parked: str = ""
    #: how often tasks, by id, have done so
    strikes: dict[str, int] = {}
    #: nodes whose messages it brings back whenever it connects
    restore: tuple[str, ...] = ()
    #: ids of tasks
    revoked: tuple[str, ...] = ()
    #: queues to leave alone from the first
    paused: tuple[str, ...] = ()


class Exec(Record):
    """Be this worker, in a process that loads the app by itself."""

    app: App
    start: Start
    #: pid
    supervisor: int


class Preload(Record):
    """Import the app, and be ready to fork workers from it."""

    app: App
    env: dict[str, str]
    log: LogFile


class Preloaded(Record):
    """The app is imported; `unsafe` says why it must not be forked, if so."""

    unsafe: str
    tasks: tuple[str, ...]
    seconds: float


class Broken(Record):
    """The app does not import."""

    error: str

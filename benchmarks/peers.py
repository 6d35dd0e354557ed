"""How each peer is told to run N workers, as values: the files it reads and the commands that start it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})
#: what celeryfleet gives its workers too
LEAN = ("--without-mingle", "--without-gossip", "--without-heartbeat")

FLEET = "celeryfleet"
EMBEDDED = "celeryfleet, embedded broker"
PLAIN = "celery worker"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What starts a peer in a folder of its own."""

    name: str
    #: by their names in the folder
    files: Mapping[str, str]
    #: each a process of its own
    commands: tuple[tuple[str, ...], ...]
    #: whether the commands end when what they start is up; else they run as long as the workers do
    detaches: bool = False
    #: on top of the environment
    env: Mapping[str, str] = field(default_factory=dict)
    #: connections on which each worker hears broadcasts: gossip takes one of its own
    ears: int = 1
    #: socket of the broker it starts itself, in the folder; empty: it uses the one that all share
    socket: str = ""


def queue(number: int) -> str:
    """Name the queue of a worker, counted from 1."""
    return f"q{number}"


def worker(number: int, flags: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command of one plain worker: one queue, one child, as in celeryfleet's pools."""
    name = queue(number)
    return ("celery", "-A", "shop", "worker", "-Q", name, "-n", f"{name}@bench", "-c", "1", "-l", "INFO", *flags)


def ears(lean: bool) -> int:
    """Count the connections on which a worker with these flags hears broadcasts."""
    return 1 if lean else 2


def named(peer: str, lean: bool) -> str:
    """Name a peer and its flags as the tables do."""
    return f"{peer}, lean" if lean else peer


def fleet(
    count: int, broker: str = "", name: str = FLEET, results: str = "", env: Mapping[str, str] = NOTHING
) -> Recipe:
    """Run N pools of one worker each; `broker` is a URL, or empty for the embedded one."""
    queues = ", ".join(f"{queue(number)}: " for number in range(1, count + 1))
    pools = "".join(f"  p{number}: {{queues: [{queue(number)}]}}\n" for number in range(1, count + 1))
    url = f'broker: "{broker}"\n' if broker else ""
    url += f'results: "{results}"\n' if results else ""
    text = f"name: bench\napp: shop\n{url}queues: {{{queues}}}\ndefault_queue: q1\npools:\n{pools}"
    socket = "" if broker else ".celeryfleet/bench/broker.sock"
    command = ("celeryfleet", "up", "-d", "--wait", "--wait-timeout", "60")
    return Recipe(name, {"fleet.yaml": text}, (command,), detaches=True, env=env, socket=socket)


def plain(count: int, lean: bool) -> Recipe:
    """Run N `celery worker &`, with nobody to watch over them."""
    return Recipe(named(PLAIN, lean), {}, tuple(_workers(count, lean).values()), ears=ears(lean))


def honcho(count: int, lean: bool) -> Recipe:
    """Run N lines of a Procfile."""
    lines = (f"{name}: {shlex.join(command)}\n" for name, command in _workers(count, lean).items())
    return Recipe(named("honcho", lean), {"Procfile": "".join(lines)}, (("honcho", "start"),), ears=ears(lean))


def supervisord(count: int, lean: bool) -> Recipe:
    """Run N programs of supervisord."""
    programs = (
        f"[program:{name}]\ncommand={shlex.join(command)}\nredirect_stderr=true\nstdout_logfile=%(here)s/{name}.log\n"
        for name, command in _workers(count, lean).items()
    )
    head = "[supervisord]\nlogfile=%(here)s/supervisord.log\npidfile=%(here)s/supervisord.pid\nnodaemon=true\n"
    control = (
        "[unix_http_server]\nfile=%(here)s/supervisor.sock\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
    )
    text = head + control + "".join(programs)
    return Recipe(
        named("supervisord", lean),
        {"supervisord.conf": text},
        (("supervisord", "-c", "supervisord.conf"),),
        ears=ears(lean),
    )


def circus(count: int, lean: bool) -> Recipe:
    """Run N watchers of circus; its sockets lie in the folder, so that two can't meet on its default ports."""
    watchers = (
        f"[watcher:{name}]\ncmd={shlex.join(command)}\ncopy_env=true\n"
        for name, command in _workers(count, lean).items()
    )
    head = "[circus]\nendpoint=ipc://control.sock\npubsub_endpoint=ipc://pubsub.sock\n"
    return Recipe(
        named("circus", lean), {"circus.ini": head + "".join(watchers)}, (("circusd", "circus.ini"),), ears=ears(lean)
    )


def multi(count: int, lean: bool) -> Recipe:
    """Run N nodes of `celery multi`, which leaves them to themselves."""
    names = [queue(number) for number in range(1, count + 1)]
    nodes = [f"{name}@bench" for name in names]
    own = [part for number, name in enumerate(names, 1) for part in (f"-Q:{number}", name)]
    flags = ("-c", "1", "-l", "INFO", *(LEAN if lean else ()), "--pidfile=%n.pid", "--logfile=%n.log", "--workdir=.")
    command = ("celery", "multi", "start", *nodes, "-A", "shop", *own, *flags)
    return Recipe(named("celery multi", lean), {}, (command,), detaches=True, ears=ears(lean))


#: every peer that starts workers
PEERS: tuple[Callable[[int, bool], Recipe], ...] = (honcho, supervisord, circus, multi, plain)
#: those that stay with their workers
SUPERVISORS: tuple[Callable[[int, bool], Recipe], ...] = (supervisord, circus, honcho)


def _workers(count: int, lean: bool) -> dict[str, tuple[str, ...]]:
    return {queue(number): worker(number, LEAN if lean else ()) for number in range(1, count + 1)}

"""A worker's entry: the app, its settings and one spec become a running Celery worker."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from celeryfleet.logs import write
from celeryfleet.protocol import Exec, Hello, Start
from celeryfleet.records import encode, parse
from celeryfleet.worker import scratch

#: signals that an inherited handler must not answer in a worker
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)
_PR_SET_PDEATHSIG = 1


def run_exec(heartbeat_fd: int, spec_fd: int) -> None:
    """Be one worker in a process of its own; the start message is read from `spec_fd`."""
    for fd in os.listdir("/dev/fd"):  # noqa: PTH208 - or else every program that a task starts inherits them
        with contextlib.suppress(OSError):  # the one that lists them
            os.set_inheritable(int(fd), int(fd) < 3)
    with os.fdopen(spec_fd, "rb") as source:
        order: Exec = parse(Exec, source.read())
    pool = str(order.start.options["pool"])
    if pool in ("gevent", "eventlet"):
        os.environ["CELERYFLEET_POOL"] = pool
        from celery import maybe_patch_concurrency

        maybe_patch_concurrency(["celery", "worker", "-P", pool])
    channel = socket.socket(fileno=heartbeat_fd)
    greet(channel, order)
    from celeryfleet import app as fleet_app
    from celeryfleet.app.routers import import_routers
    from celeryfleet.worker import seam

    seam.use_redis_channel()
    app = fleet_app.load(order.app.app, order.app.django, order.app.folder)
    fleet_app.apply(app, order.app.settings)
    import_routers(order.app.settings)
    run(app, order.start, channel)


def greet(channel: socket.socket, order: Exec) -> None:
    """Settle into a worker's own log, environment and name, and tell the supervisor the pid."""
    start = order.start
    write.install(Path(start.log.path), start.log.max_size, start.log.max_files)
    # Celery's four lines about root would open every worker's log; the supervisor says it once.
    warnings.filterwarnings("ignore", "You're running the worker with superuser privileges", Warning)
    os.environ.update(start.env)
    os.environ["CELERYFLEET_WORKER"] = start.name
    os.environ["CELERYFLEET_SETTINGS"] = order.app.settings_file
    scratch.use(Path(start.scratch))
    title(start.argv)
    die_with(order.supervisor)
    channel.sendall(encode(Hello(os.getpid())))


def die_with(supervisor: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel signal this process when the supervisor dies, even where Python can't notice."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != supervisor:  # it died before we asked
            os.kill(os.getpid(), number)


def title(argv: Sequence[str]) -> None:
    """Show the process in `ps` as the command that would start it by hand."""
    from setproctitle import setproctitle

    setproctitle(" ".join(argv))


def reset_signals() -> None:
    """Undo the handlers that a fork inherits."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def run(app: Any, start: Start, channel: socket.socket) -> None:
    """Construct the worker and work until told to stop; exits the process with Celery's exit code."""
    from celery.worker import state

    from celeryfleet.app import apply
    from celeryfleet.worker import jsonlog, seam
    from celeryfleet.worker.heartbeat import install

    options: dict[str, Any] = dict(start.options)
    pool = options.pop("pool")
    if app.loader.worker_initialized:  # the fork server has done the rest of `loader.init_worker()`
        app.loader.on_worker_init()
    if pool == "beat":
        from celeryfleet.worker.beat import run_beat

        apply(app, start.conf)
        run_beat(app, start, channel)
        return
    apply(app, {**start.conf, "worker_pool": pool})
    if app.conf.broker_transport_options.get("queue_order_strategy") == "priority":  # on Redis
        apply(app, {"broker_transport_options": {"reading_order": options["queues"]}})
    state.revoked.update(start.revoked)
    heartbeat = install(app, channel, start.keepalive, start.paused)
    if start.log_format == "json":
        jsonlog.log_as_json()
    worker = seam.worker_class(app, heartbeat, start.restore, partial(title, start.argv))(**options)
    worker.start()
    scratch.leave(Path(start.scratch))
    sys.stdout.flush()
    sys.exit(worker.exitcode)

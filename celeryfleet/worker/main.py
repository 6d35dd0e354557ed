"""A worker's entry: the app, its settings and one start message become a running Celery worker, or beat."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing.process
import os
import shutil
import signal
import socket
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from celeryfleet.logs import write
from celeryfleet.records import encode, parse
from celeryfleet.worker.stacks import write_stacks
from celeryfleet.worker_protocol import App, Exec, Hello, Start

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
    pool = str(order.start.conf.get("worker_pool"))
    if pool in ("gevent", "eventlet"):
        from celery import maybe_patch_concurrency

        maybe_patch_concurrency(["celery", "worker", "-P", pool])
    channel = socket.socket(fileno=heartbeat_fd)
    greet(channel, order)
    from celeryfleet.worker import seam

    seam.use_redis_channel()
    run(load_app(order.app), order, channel)


def load_app(named: App) -> Any:
    """Import the user's app and give it the fleet's settings. Raises FleetError."""
    from celeryfleet import app as fleet_app
    from celeryfleet.app.routers import import_routers

    app = fleet_app.load(named.app, named.django, named.folder)
    fleet_app.apply(app, named.settings)
    import_routers(named.settings)
    return app


def greet(channel: socket.socket, order: Exec) -> None:
    """Settle into a worker's own log, environment and name, and tell the supervisor the pid."""
    start = order.start
    write.install(Path(start.log.path), start.log.max_size, start.log.max_files)
    # Celery's four lines about root would open every worker's log; the supervisor says it once.
    warnings.filterwarnings("ignore", "You're running the worker with superuser privileges", Warning)
    os.environ.update(start.env)
    os.environ["CELERYFLEET_WORKER"] = start.name
    os.environ["CELERYFLEET_SETTINGS"] = order.app.settings_file
    _keep_shared_memory_in(Path(start.scratch))
    write_stacks()
    title(start.argv)
    die_with(order.supervisor)
    if not order.greeted:
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


def run(app: Any, order: Exec, channel: socket.socket) -> None:
    """Work, or send scheduled tasks, until told to stop; exits the process with Celery's exit code."""
    from celeryfleet.worker.settling import GREEN, settled, start_anew

    start = settled(app, order.start)
    pool = app.conf.worker_pool
    if pool in GREEN and order.start.conf.get("worker_pool") != pool:  # as only the app has told
        start_anew(order, pool, channel)
    title(start.argv)
    if app.loader.worker_initialized:  # the fork server has done the rest of `loader.init_worker()`
        app.loader.on_worker_init()
    if pool == "beat":
        from celeryfleet.worker.beat import send_what_is_due

        send_what_is_due(app, start.options, channel)
    else:
        _work(app, start, channel)


def _work(app: Any, start: Start, channel: socket.socket) -> None:
    from celery.worker import state

    from celeryfleet.app import apply
    from celeryfleet.worker import jsonlog, seam
    from celeryfleet.worker.heartbeat import install
    from celeryfleet.worker.ownership import Ownership
    from celeryfleet.worker.recorder import Recorder
    from celeryfleet.worker.redis_restore import leave
    from celeryfleet.worker.suspects import Suspects, source

    if app.conf.broker_transport_options.get("queue_order_strategy") == "priority":  # on Redis
        apply(app, {"broker_transport_options": {"reading_order": start.options["queues"]}})
    state.revoked.update(start.revoked)
    heartbeat = install(app, channel, start.keepalive)
    if app.conf.worker_pool not in ("gevent", "eventlet"):  # whose sockets are tied to a loop, and which fork nothing
        os.register_at_fork(after_in_child=channel.close)  # what a task runs in must not speak for the worker
    heartbeat.patience = start.patience
    heartbeat.suspects = Suspects(app, start, heartbeat.send)
    heartbeat.suspects.running.connect()
    if start.ledger:
        heartbeat.recorder = Recorder(heartbeat.offer, partial(source, app), start.hide)
    if start.owner:
        heartbeat.ownership = Ownership(start.fleet, str(start.options["hostname"]), start.owner, start.patience)
        if heartbeat.pool_blocks:
            heartbeat.ownership.tick_aside()
    if start.log_format == "json":
        jsonlog.log_as_json()
    worker = seam.worker_class(app, heartbeat, start.restore, partial(title, start.argv))(**start.options)
    app.amqp.queues.deselect(start.paused)
    worker.start()
    heartbeat.recorder.flush()
    if heartbeat.ownership is not None:
        leave(app, heartbeat.ownership)
    shutil.rmtree(start.scratch, ignore_errors=True)  # we may have outlived the supervisor
    sys.stdout.flush()
    sys.exit(worker.exitcode)


def _keep_shared_memory_in(folder: Path) -> None:
    """Have multiprocessing use this folder, so that whoever outlives us can remove it; else one of a random name.

    Its own ways are left alone where the folder can't be ours alone.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            return
    except OSError:
        return
    process: Any = multiprocessing.process.current_process()
    process._config["tempdir"] = str(folder)

"""The fork server: imports Celery and the app once, then forks each worker from that import.

A worker is forked twice over, so that it is re-parented to the supervisor (the child subreaper), which then
sees its exit exactly. The server itself never publishes or connects: children would share its sockets.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import os
import select
import signal
import socket
import stat
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from celeryfleet.app.django import connections
from celeryfleet.logs import write
from celeryfleet.records import receive_with_fds, send_with_fds
from celeryfleet.worker import main as worker_main
from celeryfleet.worker.stacks import write_stacks
from celeryfleet.worker_protocol import App, Broken, Exec, Preload, Preloaded, Start

#: what a forked worker would else import for itself, 16 times over
_WARM = (
    "celeryfleet.app.publisher",
    "celery.app.control",
    "celery.app.events",
    "celery.app.log",
    "celery.apps.worker",
    "celery.backends.redis",
    "celery.concurrency.asynpool",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.concurrency.thread",
    "celery.events.dispatcher",
    "celery.events.receiver",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.consumer.delayed_delivery",
    "celery.worker.control",
    "celery.worker.loops",
    "celery.worker.strategy",
    "celeryfleet.worker.heartbeat",
    "celeryfleet.worker.jsonlog",
    "celeryfleet.worker.prefork",
    "celeryfleet.worker.redis_transport",
    "celeryfleet.worker.seam",
    "celeryfleet.worker.settling",
    "celeryfleet.worker.suspects",
    "billiard.heap",
    "billiard.popen_fork",
    "billiard.queues",
    "billiard.resource_sharer",
    "billiard.sharedctypes",
    "billiard.synchronize",
    "encodings.idna",
    "kombu.asynchronous.hub",
    "kombu.pidbox",
    "kombu.transport.redis",
    "secrets",
    "setproctitle",
)

#: workers that one child of the server forks: to fork a process of this size costs milliseconds, and so does its end
_AT_ONCE = 8
#: seconds a forked worker waits to become the supervisor's child
_ADOPTION = 5.0


def serve(channel_fd: int, supervisor: int) -> None:
    """Preload, report, then fork a worker for each request until the supervisor closes the channel."""
    channel = socket.socket(fileno=channel_fd)
    worker_main.title(["celeryfleet:", "fork", "server"])
    worker_main.die_with(supervisor, signal.SIGKILL)  # it may hang in an import, and has nothing to finish
    for name in _WARM:
        importlib.import_module(name)
    from celeryfleet.worker.seam import use_redis_channel

    use_redis_channel()
    message, _ = receive_with_fds(channel, Preload)
    if message is None:
        return
    write.install(Path(message.log.path), message.log.max_size, message.log.max_files)
    write_stacks()
    os.environ.update(message.env)
    started = time.monotonic()
    try:
        app = _preload(message.app, message.scheduler)
    except BaseException as error:
        traceback.print_exc()
        send_with_fds(channel, Broken(_explain(error)), [])
        return
    unsafe = _unsafe(channel_fd)
    tasks = tuple(sorted(name for name in app.tasks if not name.startswith("celery.")))
    report = Preloaded(unsafe, tasks, time.monotonic() - started)
    gc.collect()
    gc.freeze()
    send_with_fds(channel, report, [])
    _fork_on_request(app, channel, message, supervisor)


def _preload(named: App, scheduler: str | None) -> Any:
    from celeryfleet.app import import_scheduler, import_tasks

    os.chdir(named.folder)  # the first server was started before the supervisor was there
    app = worker_main.load_app(named)
    if str(named.settings["broker_url"]).startswith(("amqp", "pyamqp")):
        importlib.import_module("kombu.transport.pyamqp")
    import_tasks(app)
    if scheduler is not None:
        import_scheduler(app, scheduler)
    app.loader.worker_initialized = True  # or each worker would send `import_modules` again
    app.finalize()
    connections.close()
    _remember_redis_version()
    return app


def _remember_redis_version() -> None:
    """Parse redis-py's own metadata once, as it does for each connection (1.5 ms of CPU, seen in 8.1)."""
    utils: Any = importlib.import_module("redis.utils")
    if hasattr(utils, "get_lib_version"):
        utils.get_lib_version = functools.cache(utils.get_lib_version)
        utils.get_lib_version()


def _explain(error: BaseException) -> str:
    from celeryfleet.errors import FleetError

    if isinstance(error, FleetError):
        return str(error)
    *lines, last = traceback.format_exception(error)
    return f"the app fails to import: {last}{''.join(lines[-3:])}".strip()


def _unsafe(channel_fd: int) -> str:
    """Say what the import left behind that a fork would break; empty if nothing."""
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        return f"importing the app starts a thread ({', '.join(others)}), which a fork would lose"
    for entry in os.scandir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            is_socket = stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode)
            if is_socket and int(entry.name) not in (0, 1, 2, channel_fd):
                return "importing the app opens a connection, which forked workers would share"
    return ""


def _fork_on_request(app: Any, channel: socket.socket, preloaded: Preload, supervisor: int) -> None:
    while requests := _requests(channel):
        found = _fork(requests)
        if found is not None:
            (start, heartbeat), adoption = found
            channel.close()
            order = Exec(preloaded.app, start, supervisor)
            _become_worker(app, order, socket.socket(fileno=heartbeat), adoption)


def _requests(channel: socket.socket) -> list[tuple[Start, int]]:
    """Wait for requests, each with its worker's end of a heartbeat; none when the supervisor has gone."""
    found: list[tuple[Start, int]] = []
    while not found or (len(found) < _AT_ONCE and select.select([channel], [], [], 0)[0]):
        start, fds = receive_with_fds(channel, Start)
        if start is None:
            break
        found.append((start, fds[0]))
    return found


def _fork(requests: list[tuple[Start, int]]) -> tuple[tuple[Start, int], int] | None:
    """Fork a child that forks the workers and exits; return in a worker its request and what ends with that child.

    Where there can't be a worker, the supervisor hears its heartbeat close.
    """
    adoption, held = os.pipe()
    try:
        between = os.fork()
    except OSError:
        traceback.print_exc()
        between = -1
    if between == 0:
        for request in requests:
            try:
                is_worker = os.fork() == 0
            except OSError:
                traceback.print_exc()
                os._exit(1)
            if is_worker:
                os.close(held)
                _close(fd for _, fd in requests if fd != request[1])
                return request, adoption
        os._exit(0)
    _close([adoption, held, *(fd for _, fd in requests)])
    if between > 0:
        with contextlib.suppress(ChildProcessError):  # the app ignores SIGCHLD
            os.waitpid(between, 0)
    return None


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _become_worker(app: Any, order: Exec, heartbeat: socket.socket, adoption: int) -> None:
    """Run a worker in this grandchild; never returns."""
    status = 1
    try:
        os.setsid()
        worker_main.reset_signals()
        _await_parent(order.supervisor, adoption)
        _forget_identity(app)
        worker_main.greet(heartbeat, order)
        worker_main.run(app, order, heartbeat)
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        if isinstance(exit_.code, str):
            print(exit_.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _await_parent(supervisor: int, adoption: int) -> None:
    """Wait until the process in between, whose end ends `adoption`, has exited and the supervisor is the parent."""
    with open(adoption, "rb") as held:
        held.read()
    deadline = time.monotonic() + _ADOPTION
    while os.getppid() != supervisor:
        if time.monotonic() > deadline:
            raise TimeoutError("the supervisor has gone")
        os.sched_yield()


def _forget_identity(app: Any) -> None:
    """Drop what would give every worker the same reply queue, should the import have touched it."""
    app.__dict__.pop("oid", None)
    app._local.__dict__.pop("oid", None)

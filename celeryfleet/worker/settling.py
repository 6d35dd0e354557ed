"""Settles what a worker is once its app is imported: what fleet.yaml says, else the app, else the fleet's defaults."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NoReturn

from celery.concurrency import ALIASES

from celeryfleet.app import apply, says
from celeryfleet.records import encode
from celeryfleet.routing.table import transport_of
from celeryfleet.worker_protocol import FLAGS, Exec, Start

#: pools that patch Python, before anything else is imported
GREEN = ("gevent", "eventlet")


def settle(app: Any, defaults: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Give an app the settings of one worker; `defaults` hold where it says nothing itself."""
    unsaid = {key: value for key, value in defaults.items() if not says(app, key)}
    apply(app, {**unsaid, **own})
    conf = app.conf
    path = ALIASES.get(conf.worker_pool, conf.worker_pool)
    conf.worker_pool = next((name for name, known in ALIASES.items() if known == path), conf.worker_pool)
    # After a lost connection Celery raises the prefetch again whenever a task ends, and waits for RabbitMQ's answer
    # where that is: in a thread, while the main thread reads the same socket, and both wait for ever.
    key = "worker_enable_prefetch_count_reduction"
    if conf.worker_pool == "threads" and transport_of(conf.broker_url) == "amqp" and not says(app, key):
        conf[key] = False


def settled(app: Any, start: Start) -> Start:
    """Give an app the settings of one worker; return its message with the command and the options that come of it."""
    settle(app, start.defaults, start.conf)
    conf = app.conf
    argv = [str(conf[FLAGS[flag]]) if flag in FLAGS else part for flag, part in pairwise(("", *start.argv))]
    if not conf.worker_send_task_events:
        return start.but(argv=tuple(argv))
    options = {key: value for key, value in start.options.items() if key != "without_heartbeat"}
    return start.but(argv=tuple(part for part in argv if part != "--without-heartbeat"), options=options)


def start_anew(order: Exec, pool: str, channel: socket.socket) -> NoReturn:
    """Become the same worker in a fresh Python, which is patched for this pool before it imports the app."""
    start = order.start.but(conf={**order.start.conf, "worker_pool": pool})
    with tempfile.TemporaryFile() as orders:
        orders.write(encode(order.but(start=start, greeted=True)))
        orders.seek(0)
        for fd in os.listdir("/dev/fd"):  # noqa: PTH208 - also what tells the broker's keeper that we live
            with contextlib.suppress(OSError):  # the one that lists them
                os.set_inheritable(int(fd), True)
        fds = [str(channel.fileno()), str(orders.fileno())]
        os.execv(sys.executable, [sys.executable, "-P", "-m", "celeryfleet.worker", "exec", *fds])

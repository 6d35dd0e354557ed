"""A process that connects a supervisor with those of other hosts over a RabbitMQ; it ends with the supervisor."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import suppress
from types import FrameType

from celeryfleet.client.rabbit_hosts import RabbitHosts
from celeryfleet.plan.values import Plan
from celeryfleet.protocol import GetPlan, Running
from celeryfleet.supervise.control_client import Client, NotRunningError
from celeryfleet.supervise.hosts import serve, take_leave


def main(control: str) -> None:
    """Serve the supervisor at this control socket; SIGTERM: its fleet stops on purpose, and leaves no report."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, leave)
    with Client(control) as client:
        plan = Plan.from_json(client.ask(GetPlan(), Running).plan)
    try:
        serve(control, plan.host, lambda: RabbitHosts(plan), threading.Event())
    except SystemExit:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        take_leave(plan.host, lambda: RabbitHosts(plan))


if __name__ == "__main__":
    with suppress(NotRunningError):
        main(sys.argv[1])

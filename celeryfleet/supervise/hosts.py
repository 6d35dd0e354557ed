"""Has the fleet on other hosts know how it is here, and answers what they ask, by way of the broker they share.

On a Redis this is a thread; on a RabbitMQ a process of its own (cli/host_link.py), since the supervisor imports no
kombu. Both speak to the supervisor over its control socket, as any command does. A fleet with a broker of its own has
none of this; one on a RabbitMQ only where fleet.yaml names `hosts`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import FleetError
from celeryfleet.hosts.messages import EVERY, Answer, GetReport, HostTrouble, Known, Report
from celeryfleet.plan.values import Plan
from celeryfleet.protocol import Done, Marks, Refused, newer
from celeryfleet.records import Record
from celeryfleet.supervise import process
from celeryfleet.supervise.control_client import Client, NotRunningError
from celeryfleet.supervise.reconciler import Reconciler
from celeryfleet.text import clean

if TYPE_CHECKING:
    from celeryfleet.hosts.broker import Hosts

#: what the supervisor answers
_TOLD: Any = Report | Known | Done
#: seconds for each step of leaving
_FAREWELL = 1.0


class HostLink:
    """What connects a supervisor with those of other hosts, if anything does."""

    def __init__(self, fleet: Reconciler) -> None:
        self._fleet = fleet
        #: the plan that it was started for
        self._plan: Plan | None = None
        self._over = threading.Event()
        self._pid: int | None = None

    def start(self) -> None:
        """Begin, if the plan asks for it; begin anew where the plan has another broker or name."""
        plan = self._fleet.plan
        if self._plan is not None and _key(self._plan) == _key(plan):
            return
        self._stop()
        if not reports(plan):
            return
        self._plan = plan
        if plan.broker.transport == "redis":
            self._over = threading.Event()
            threading.Thread(target=_run, args=(plan, self._over), name="hosts", daemon=True).start()
        else:
            argv = [*process.PYTHON, "-m", "celeryfleet.cli.host_link", plan.control]
            self._pid = process.spawn(argv, os.environ)

    def owns(self, pid: int) -> bool:
        """Tell whether this is our process."""
        return pid == self._pid

    def ended(self, pid: int) -> bool:
        """Take note of a child's exit, if it was ours, and have another one soon; tell whether it was."""
        if not self.owns(pid):
            return False
        self._pid = self._plan = None
        asyncio.get_running_loop().call_later(EVERY, self.start)
        return True

    def _stop(self) -> None:
        self._over.set()
        if self._pid is not None:
            process.tell(self._pid, signal.SIGTERM)
        self._plan = self._pid = None

    async def close(self) -> None:
        """Take leave of the other hosts: the fleet stops here on purpose."""
        plan = self._plan
        self._stop()
        if plan is not None and plan.broker.transport == "redis":
            await asyncio.to_thread(_withdraw, plan)


def reports(plan: Plan) -> bool:
    """Tell whether a supervisor of this plan leaves reports."""
    return not plan.broker.argv and (
        plan.broker.transport == "redis" or (plan.broker.transport == "amqp" and bool(plan.hosts))
    )


def _key(plan: Plan) -> object:
    return plan.broker, plan.host, bool(plan.hosts)


def _run(plan: Plan, over: threading.Event) -> None:
    from celeryfleet.hosts import redis  # a fleet with a broker of its own has no need of it

    with contextlib.suppress(NotRunningError):
        serve(plan.control, plan.host, lambda: redis.RedisHosts(plan, EVERY + 2.0), over)  # it waits for EVERY


def _withdraw(plan: Plan) -> None:
    from celeryfleet.hosts import redis

    take_leave(plan.host, lambda: redis.RedisHosts(plan, _FAREWELL))


def take_leave(host: str, opened: Callable[[], Hosts]) -> None:
    """Remove a host's report: it has stopped on purpose."""
    with contextlib.suppress(OSError), contextlib.closing(opened()) as hosts:
        hosts.withdraw(host)


def serve(control: str, host: str, opened: Callable[[], Hosts], over: threading.Event) -> None:
    """Report and answer until it is over, whatever becomes of the broker. Raises NotRunningError."""
    trouble = ""
    with Client(control, timeout=None) as supervisor:
        while not over.is_set():
            try:
                with contextlib.closing(opened()) as hosts:
                    trouble = ""
                    _serve(supervisor, host, hosts, over)
            except (OSError, ValueError) as error:
                if trouble != str(error):
                    trouble = str(error)
                    _ask(supervisor, HostTrouble(f"other hosts cannot be told how it is here: {error}"))
                over.wait(EVERY)


def _serve(supervisor: Client, host: str, hosts: Hosts, over: threading.Event) -> None:
    told = None
    while not over.is_set():
        report = _ask(supervisor, GetReport())
        if not isinstance(report, Report):
            raise ValueError(report)
        before, text = hosts.leave(host, report), ""
        if told is not None and before and before.owner != report.owner:  # it came after ours: both live
            place = clean(before.place)
            text = f"{place} is host {host}, too: give one of the two another name, with `up --host NAME`."
        if text != told:
            _ask(supervisor, HostTrouble(text, note=True))
        told = text
        kept = hosts.marks()
        if newer(kept, report.marks):
            _ask(supervisor, Marks(kept))
        if newer(report.marks, kept):  # also where what was kept has gone
            hosts.share(report.marks)
        asked = hosts.take(host, EVERY)
        if asked is not None:
            hosts.reply(asked[0], _ask(supervisor, asked[1]))


def _ask(supervisor: Client, request: Record) -> Answer:
    """Have the supervisor answer. Raises NotRunningError where it has gone."""
    try:
        answer: Answer = supervisor.ask(request, _TOLD)
    except NotRunningError:
        raise
    except FleetError as error:
        first = error.problems[0]
        return Refused(first.what, first.hint, int(error.code))
    return answer

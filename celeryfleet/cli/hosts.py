"""The other hosts of a fleet, as commands read and ask them."""

from __future__ import annotations

import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from celeryfleet.cli import insight, lean
from celeryfleet.endpoint import BrokerError
from celeryfleet.errors import Exit, FleetError
from celeryfleet.fleetfile.suggest import unknown
from celeryfleet.hosts.messages import SILENT, FindTasks, Known
from celeryfleet.hosts.seen import as_one
from celeryfleet.hosts.seen import seen as as_seen
from celeryfleet.hosts.tasks import entries
from celeryfleet.protocol import Refused, Restart, Scale, Status
from celeryfleet.supervise.hosts import reports
from celeryfleet.supervise.leftovers import Leftovers
from celeryfleet.supervise.namesake import Claim
from celeryfleet.text import age, say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.hosts.broker import Hosts
    from celeryfleet.hosts.messages import Answer, HostStatus, Report
    from celeryfleet.ledger.entry import Entry
    from celeryfleet.plan.values import Plan
    from celeryfleet.records import Record

    #: of other hosts: the tasks that were asked for, those that run, and who does not answer
    Told: TypeAlias = tuple[list[Entry], list[Entry], list[str]]

#: seconds that a host has to answer
_PATIENCE = 4.0
#: seconds between two looks at a report
_LOOK = 0.5
_HEARD = "`celeryfleet status` says there whether it runs, and `celeryfleet status --all` when it was heard of last."


def seen(session: Session, here: Status | None = None) -> tuple[tuple[HostStatus, ...], str]:
    """Say how the fleet is on each of its hosts, `here` if that is known; return also why others can't be known of."""
    plan = session.followed
    found: dict[str, tuple[Report, float]] = {}
    trouble = ""
    try:
        with opened(plan) as hosts:
            found = hosts.read(plan.hosts)
    except ConnectionError as error:
        trouble = str(error)
    except FleetError as error:
        trouble = "" if plan.broker.argv and not plan.hosts else error.problems[0].what.rstrip(".")
    here = here if here is not None and here.state != "down" else None
    if here is None:  # else what a killed supervisor of this folder reported last would be one of another host
        owner = Leftovers(Path(plan.state_dir) / "pids.json").owner
        found = {host: told for host, told in found.items() if told[0].owner != owner}
    return as_seen(plan.hosts, found, here, "unknown" if trouble else "missing"), trouble


def whole(session: Session) -> tuple[Status, tuple[HostStatus, ...]]:
    """Say how the fleet is as a whole, each worker named with its host; and how each of the hosts is."""
    here = insight.found(session)
    hosts, trouble = seen(session, here)
    return _joined(here, hosts, trouble, everywhere=True), hosts


def joined(session: Session, exact: bool = True, timeout: float = 30.0) -> Status:
    """Say how this fleet is, with what other hosts have reported: their workers are named web-1@b."""
    here = insight.found(session, exact, timeout)
    if not reports(session.followed) or here.broker.state != "up":
        return here
    return _joined(here, *seen(session, here))


def _joined(here: Status, hosts: tuple[HostStatus, ...], trouble: str, everywhere: bool = False) -> Status:
    if not everywhere and all(host.here for host in hosts):
        return here
    found, _ = lean.with_depths(as_one(here, hosts, everywhere))
    return found.but(notes=(*found.notes, f"Other hosts are not known of: {trouble}.")) if trouble else found


def read_elsewhere(session: Session, here: Status | None) -> set[str]:
    """Return the queues that workers of other hosts read."""
    hosts, _ = seen(session, here)
    others = [host.status for host in hosts if host.status is not None and host.state == "reporting" and not host.here]
    return {queue for status in others for pool in status.pools if pool.want for queue in pool.queues}


def ask(session: Session, host: str, request: Record, seconds: float = _PATIENCE) -> None:
    """Have another host's supervisor do something. Raises FleetError where it does not."""
    plan = session.followed
    try:
        with opened(plan) as hosts:
            told = hosts.read(plan.hosts)
            if host not in (known := {*plan.hosts, *told}):
                raise unknown("host", host, sorted(known))
            if host not in told or told[host][1] > SILENT:
                last = f"its latest report is {age(told[host][1])} old" if host in told else "there is no report of it"
                raise FleetError(f"host {host} is silent: {last}.", hint=_HEARD, code=Exit.NOT_READY)
            answer = hosts.ask(host, request, seconds)
    except BrokerError as error:
        raise FleetError(f"host {host} cannot be asked: {error}.", code=Exit.BROKER) from None
    if answer is None:
        raise FleetError(f"host {host} does not answer within {seconds:g} s.", hint=_HEARD, code=Exit.NOT_READY)
    if isinstance(answer, Refused):
        raise FleetError(f"host {host}: {answer.what}", hint=answer.hint, code=Exit(answer.code))


def opened(plan: Plan) -> closing[Hosts]:
    """Connect to the broker that the hosts share. Raises BrokerError; FleetError where they share none."""
    if plan.broker.argv:
        raise FleetError("the embedded broker is this host's alone.", hint="Hosts need a broker that all can reach.")
    if not reports(plan):
        raise FleetError("on this broker hosts know each other only where fleet.yaml names them: hosts: {a: [web]}.")
    if plan.broker.transport == "redis":
        from celeryfleet.hosts.redis import RedisHosts

        return closing(RedisHosts(plan))
    from celeryfleet.client.rabbit_hosts import RabbitHosts

    return closing(RabbitHosts(plan))


def claim(plan: Plan) -> None:
    """Raise FleetError where a supervisor elsewhere goes by the name of this host: their nodes would be mixed up.

    What reported a moment ago and does so no more is gone: that shows within some seconds.
    """
    if not reports(plan):
        return
    owner, first = Leftovers(Path(plan.state_dir) / "pids.json").owner, None
    with suppress(ConnectionError), opened(plan) as board:
        while (found := board.read([plan.host]).get(plan.host)) and found[1] <= SILENT and found[0].owner != owner:
            report, first = found[0], first or found[0]
            if report.at != first.at:
                raise FleetError(
                    f'a host named "{plan.host}" runs {plan.fleet} on this broker already: {report.place}.',
                    hint="Give this one another name with --host or CELERYFLEET_HOST.",
                    code=Exit.NOT_READY,
                )
            if report is first:
                if not plan.hosts:  # then it is rather a fleet of another folder of this machine, which is told at once
                    here = Claim()
                    here.take(plan)
                    here.release()
                say(
                    f"{report.place} reported as host {plan.host} just now: looking whether it still does …", sys.stderr
                )
            time.sleep(_LOOK)


def tasks(session: Session, asked: FindTasks) -> Told:
    """Have the other hosts look into their ledgers; return what they find, what runs on them, and who is silent."""
    answers, silent, _ = ask_all(session, asked)  # of the broker the status tells
    told = [(host, answer) for host, answer in answers.items() if isinstance(answer, Known)]
    found = [one for host, answer in told for one in entries(answer.tasks, host)]
    running = [one for host, answer in told for one in entries(answer.running, host)]
    return found, running, [f"{who} does not answer: it may know more" for who in silent]


def entries_elsewhere(session: Session, asked: FindTasks) -> list[Entry]:
    """Return what the other hosts' ledgers have, and say which of them are silent."""
    found, _, silent = tasks(session, asked)
    for text in silent:
        say(f"{text}.", sys.stderr)
    return found


def ask_all(session: Session, request: Record) -> tuple[dict[str, Answer], list[str], str]:
    """Ask all other hosts that have reported; return what they answer, who does not, and why the broker does not."""
    answers: dict[str, Answer] = {}
    silent, trouble = list[str](), ""
    try:
        with suppress(FleetError), opened(session.followed) as board:  # where there are no other hosts
            for host, (report, seconds) in sorted(board.read(session.followed.hosts).items()):
                if host == session.host_here:
                    continue
                answer = board.ask(host, request, _PATIENCE) if seconds <= SILENT else None
                if answer is None:
                    silent.append(f"host {host} ({report.place})")
                else:
                    answers[host] = answer
    except ConnectionError as error:
        trouble = str(error)
    return answers, silent, trouble


def do(session: Session, request: Record, host: str = "") -> dict[str, Record]:
    """Have something done: with pools named video@b on that host, with others on `host`, or else here.

    Return what was asked of each host, of this one under an empty name. Raises FleetError.
    """
    asked: dict[str, Record] = {}
    for where, part in _by_host(request, host).items():
        name = "" if where and where == session.host_here else where
        asked[name] = part
        if name:
            ask(session, name, part)
        else:
            with session.connect() as client:
                client.do(part)
    return asked


def _by_host(request: Record, host: str) -> dict[str, Record]:
    """Split a request by the hosts that are in the names of its pools."""
    replicas = request.replicas if isinstance(request, Scale) else {}
    parts: dict[str, dict[str, int]] = {}
    for name in request.pools if isinstance(request, Restart) else replicas:
        pool, _, where = name.partition("@")
        parts.setdefault(where or host, {})[pool] = replicas.get(name, 0)
    return {
        where: Scale(pools) if replicas else request.but(pools=tuple(pools)) for where, pools in sorted(parts.items())
    } or {host: request}

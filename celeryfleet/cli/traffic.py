"""Finds out what comes into the queues: of the ledger, of what waits, and of what the user says."""

from __future__ import annotations

import math
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from celeryfleet.cli.hosts import ask_all
from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.units import duration
from celeryfleet.hosts.messages import ENDED, FindTasks
from celeryfleet.hosts.messages import Known as Told
from celeryfleet.hosts.tasks import ended, entries
from celeryfleet.plan.command import ranked
from celeryfleet.routing.resolve import resolve
from celeryfleet.simulate.forecast import Known, Traffic
from celeryfleet.text import say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.hosts.tasks import Row
    from celeryfleet.ledger.entry import Entry
    from celeryfleet.protocol import Status

#: tasks that are looked at, the latest
_MOST = 100_000
#: parts of the time; what comes in one of them is a burst where it is more than comes in all others
_SLOTS = 60
#: seconds of a rate's unit
_PER = {"s": 1, "m": 60, "h": 3600}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*([smh])")


def known(session: Session, status: Status, since: float, rates: Sequence[str], runtimes: Sequence[str]) -> Known:
    """Return it; `since` is unix seconds, `rates` and `runtimes` are as typed. Raises FleetError."""
    queues = [queue.name for queue in session.plan.queues]
    told = {queue: _rate(text) for queue, text in _pairs(rates, queues, "--rate mail=20/s")}
    spans = {queue: span(text) for queue, text in _pairs(runtimes, queues, "--runtime mail=80ms")}
    found = _counted(session, status, since)
    traffic = []
    for queue in queues:
        some = [one for one in found.traffic if one.queue == queue]
        if not some and (queue in told) != (queue in spans):
            raise nothing(queue, told.get(queue, 20.0))
        if queue in spans:
            some = [replace(one, runtimes=(spans[queue],)) for one in some]
        if queue in told:
            some = some or [Traffic(queue, 1.0, (spans[queue],), late=_late(session))]
            whole = sum(one.rate for one in some) or 1.0
            some = [replace(one, rate=told[queue] * (one.rate / whole or 1 / len(some))) for one in some]
        traffic += some
    busiest = {queue: rate for queue, rate in found.busiest.items() if queue not in told}
    seen = {one.queue for one in traffic}
    silent = {queue.name: queue.ready for queue in status.queues if queue.ready and queue.name in {*queues} - seen}
    bursts = {queue: count for queue, count in found.bursts.items() if queue not in told}
    return Known(traffic, found.span, busiest, bursts, silent)


def nothing(queue: str, rate: float = 20.0) -> FleetError:
    """Say that nothing is known of a queue, and what to type."""
    hint = f"Say it: celeryfleet plan --rate {queue}={rate:g}/s --runtime {queue}=80ms"
    return FleetError(f"nothing is known of what comes into {queue}: there, no task has ended of late.", hint=hint)


def _pairs(texts: Iterable[str], queues: Sequence[str], example: str) -> Iterable[tuple[str, str]]:
    from celeryfleet.routing.queue import unknown

    for text in texts:
        name, _, value = map(str.strip, text.partition("="))
        if not name or not value:
            raise FleetError(f'"{text}" has no name or no value.', hint=f"Write it as in {example}.")
        if name not in queues:
            raise unknown(name, queues)
        yield name, value


def _rate(text: str) -> float:
    match = _RATE.fullmatch(text)
    if match is None:
        raise FleetError(f'"{text}" is not a rate.', hint="Write a number per second, minute or hour: 20/s, 90/m, 5/h.")
    return float(match[1]) / _PER[match[2]]


def span(text: str) -> float:
    """Read a length of time. Raises FleetError."""
    try:
        return duration(text)
    except ValueError as error:
        raise FleetError(f'"{text}" {error}') from None


def _late(session: Session) -> bool:
    return bool(session.plan.settings.get("task_acks_late"))


def _elsewhere(session: Session, since: float) -> Iterator[tuple[list[Row], list[Entry]]]:
    """Ask the other hosts what has ended there, and what their workers hold; say who does not answer."""
    answers, silent, _ = ask_all(session, FindTasks(state="ended", since=since))
    for host, answer in answers.items():
        if isinstance(answer, Told):
            yield ended(answer.ended), entries(answer.tasks, host)
    for who in silent:
        say(f"note: {who} does not answer: what came to it is not counted.", sys.stderr)


def _counted(session: Session, status: Status, since: float) -> Known:
    """Count what came, by queue and priority: what has ended, what workers hold, and what waits."""
    now, plan = time.time(), session.plan
    first_ones = ranked(session.fleet, plan.broker.transport)

    @cache
    def kind(task: str, queue: str) -> tuple[str, int]:
        with suppress(FleetError):
            return queue, (queue in first_ones and resolve(session.fleet, plan.routing, task).priority) or 0
        return queue, 0

    came: dict[tuple[str, int], list[float]] = defaultdict(list)
    ran: dict[tuple[str, int], list[float]] = defaultdict(list)
    with session.ledger(required=False) as ledger:
        told = [(list(ledger.recent(since, _MOST)), _MOST)]
        held = ledger.held()
    for rows, others in _elsewhere(session, since):
        told.append((rows, ENDED))
        held += others
    for task, queue, sent, seconds in (row for rows, _ in told for row in rows):
        came[kind(task, queue)].append(sent / 1000)
        if seconds is not None:
            ran[kind(task, queue)].append(max(0.0, seconds))
    for entry in held:
        came[kind(entry.task, entry.queue)].append(max(entry.sent or 0, entry.received or 0, entry.eta or 0) / 1000)
    late = _late(session) or any(entry.late for entry in held)
    for rows, most in told:
        if len(rows) == most:  # there are more, whose end is before that of the last one told
            since = max(since, rows[-1][2] / 1000)
    begun = max(since, min((at for times in came.values() for at in times), default=now))
    span = max(1.0, now - begun)
    slot, waiting = span / _SLOTS, {queue.name: queue for queue in status.queues}
    traffic, busiest, bursts = [], {}, {}
    for queue in sorted({queue for queue, _ in ran} & {queue.name for queue in plan.queues}):
        kinds = [one for one in ran if one[0] == queue]
        times = [(at, one) for one in kinds for at in came[one] if begun <= at <= now]
        depth = waiting.get(queue)
        ready, age = (depth.ready or 0, depth.oldest_age_s or 0.0) if depth else (0, 0.0)
        fresh = ready * min(1.0, span / max(age, 1e-9))  # of what waits, that which came in this time
        ((burst, most),) = Counter(int(at / slot) for at, _ in times).most_common(1) or [(0, 0)]
        if slot >= 1 and 2 * most > len(times):
            bursts[queue] = most
            times = [one for one in times if int(one[0] / slot) != burst]
            fresh = 0.0 if now - age < (burst + 1) * slot else fresh
        shares = Counter(one for _, one in times) or Counter(kinds)
        for one in kinds:
            part = shares[one] / shares.total()
            rate = (len(times) + fresh) * part / span
            traffic.append(Traffic(queue, rate, tuple(ran[one]), one[1], round(ready * part), late))
        minutes = Counter(int(at // 60) for at, _ in times)
        if span >= 120 and minutes:
            busiest[queue] = math.ceil(max(minutes.values()) / 6) / 10
    return Known(traffic, span, busiest, bursts)

"""Looks at the fleet for what `alerts:` names, and has somebody told; a fleet without alerts never starts any of this.

Who was told that something begins is told also after a restart that it is over, and not again that it begins
(alerts.json). A notice that the end of the supervisor cut off may have come: the next one tells it under its id.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from celeryfleet import private
from celeryfleet.plan.values import Plan
from celeryfleet.protocol import AlertStatus, Delivery
from celeryfleet.records import encode
from celeryfleet.supervise import process
from celeryfleet.supervise.counting import Counting
from celeryfleet.supervise.decide.alerting import Matter, Notice, Sight, Watch, judge
from celeryfleet.supervise.decide.state import Status
from celeryfleet.supervise.reconciler import Reconciler

#: seconds between two looks
_INTERVAL = 2.0
#: notices that wait to be delivered at most
_MOST = 100
#: seconds for one notice, all tries together
_ALTOGETHER = 90.0
_OF_DEPTHS = ("oldest_age", "backlog_growing")


class Alerts:
    """The alerts of a running fleet."""

    def __init__(self, fleet: Reconciler) -> None:
        self._fleet = fleet
        self._file = fleet.home / "alerts.json"
        self._watch = Watch()
        self._running = False
        #: of each worker, as they were after the latest turn
        self._states: list[tuple[str, Status]] = []
        #: what somebody is told of that it begins, and was not yet told of that it is over; whether that has come
        self._told: dict[Matter, tuple[float, str, bool]] = {}
        #: who is told: one notice after the other, since the second may say that the first is over
        self._turns: dict[object, asyncio.Lock] = {}
        self._waiting = 0

    def start(self) -> None:
        """Begin, if the plan has alerts and it has not begun yet."""
        if self._fleet.plan.alerts and not self._running:
            self._running = True
            self._told = self._remembered()
            active = {of: (since, text) for of, (since, text, _) in self._told.items()}
            self._watch = Watch(self._fleet.plan.alerts, active=active)
            for alert in self._fleet.plan.alerts:
                for of, (since, text, told) in self._told.items():
                    if of.of(alert) and not told:
                        self._fleet.background(self._tell(Notice(alert, of, True, text, since)))
            self._fleet.background(self._run())

    def on(self) -> tuple[AlertStatus, ...]:
        """Say what is on."""
        active = self._watch.active.items()
        return tuple(AlertStatus(of.when, of.what, text, _iso(since)) for of, (since, text) in active)

    async def _run(self) -> None:
        counting = Counting()
        while not self._fleet.state.stopping:
            of_depths = any(alert.when in _OF_DEPTHS for alert in self._fleet.plan.alerts)
            self._look((await counting.look(self._fleet) if of_depths else None) or {})
            if not self._fleet.plan.alerts:
                break
            await asyncio.sleep(_INTERVAL)
        counting.close()
        self._running = False

    def after_turn(self) -> None:
        """Look at once if the state of a worker has changed: one is stuck for less than the time between two looks."""
        states = (
            [(worker.name, worker.status) for worker in self._fleet.state.workers.values()] if self._running else []
        )
        if states != self._states:
            self._states = states
            self._look({})

    def _look(self, depths: Mapping[str, Mapping[str, Any]]) -> None:
        """Find out what has begun and what is over."""
        state, target = self._fleet.state, self._fleet.target
        if not self._running or state.stopping:
            return
        sight = Sight(state.workers.values(), target.specs, depths)
        self._watch, notices = judge(target.plan.alerts, self._watch, sight, time.time())
        for notice in notices:
            self._fleet.say(f"alert{'' if notice.begins else ' over'}: {notice.text}")
            self._fleet.background(self._tell(notice))

    def _remembered(self) -> dict[Matter, tuple[float, str, bool]]:
        """Read what an earlier supervisor has told; a torn file is no more than a lost memory."""
        try:
            return {
                Matter(str(when), str(name), float(over), float(hold), str(what)): (float(since), str(text), bool(told))
                for when, name, over, hold, what, since, text, told in json.loads(self._file.read_bytes())
            }
        except (OSError, ValueError, TypeError, RecursionError):
            return {}

    # --- Telling ------------------------------------------------------------------------------------------

    async def _tell(self, notice: Notice) -> None:
        if self._waiting >= _MOST:
            self._fleet.say("alert: too many wait to be told, this one is not")
            return
        self._waiting += 1
        alert, outcome = notice.alert, "not told: the fleet has stopped"
        plan, key = self._fleet.plan, key_of(self._fleet.plan, notice)
        delivery = Delivery(body(plan.fleet, key, notice, time.time()), key, alert.command, alert.webhook)
        try:
            async with self._turns.setdefault(alert.command or alert.webhook, asyncio.Lock()):
                self._remember(notice, told=False)
                outcome = await _delivered(delivery, {**os.environ, **plan.env})
            self._remember(notice, told=True)
        finally:
            self._waiting -= 1
            self._fleet.say(f"alert {alert.when} of {notice.matter.what}: {outcome}")

    def _remember(self, notice: Notice, told: bool) -> None:
        if notice.begins:
            self._told[notice.matter] = (notice.since, notice.text, told)
        elif told:
            self._told.pop(notice.matter, None)
        try:
            private.write(str(self._file), json.dumps([[*of, *told] for of, told in self._told.items()]).encode())
        except OSError as error:
            self._fleet.say(f"alerts.json could not be written: {error.strerror}")


def key_of(plan: Plan, notice: Notice) -> str:
    """Name a notice: one that is told again, since it is not known whether it has come, has the same name."""
    named = json.dumps([plan.fleet, plan.host, *notice.matter, notice.since, notice.begins])
    return hashlib.blake2b(named.encode(), digest_size=16).hexdigest()


def body(fleet: str, key: str, notice: Notice, now: float) -> str:
    """Return what a command or a webhook gets, as JSON; `now` is unix seconds."""
    if notice.alert.format == "slack":
        from html import escape  # 8 ms that a start has not

        sign = ":red_circle:" if notice.begins else ":large_green_circle:"
        return json.dumps({"text": f"{sign} {fleet}: {escape(notice.text, quote=False)}"})
    return json.dumps(
        {
            "schema_version": 1,
            "id": key,
            "fleet": fleet,
            "alert": notice.alert.when,
            "state": "begins" if notice.begins else "over",
            "what": notice.matter.what,
            "text": notice.text,
            "since": _iso(notice.since),
            "at": _iso(now),
        }
    )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


async def _delivered(delivery: Delivery, env: Mapping[str, str]) -> str:
    """Have a process of its own deliver it, and return what it says; however that ends, nothing of it is left."""
    try:
        reader, writer = await process.converse("celeryfleet.supervise.deliver", env)
    except OSError as error:
        return f"not told: {error.strerror}"
    try:
        writer.write(encode(delivery))
        async with asyncio.timeout(_ALTOGETHER):
            return (await reader.readline()).decode().strip() or "not told: the process that tells it has died"
    except OSError as error:
        return f"not told: {error.strerror or 'it takes too long'}"
    finally:
        writer.close()  # at which the process ends, with all that it has started

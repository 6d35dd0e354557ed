"""What the supervisor does about each request on its control socket."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from celeryfleet import protocol
from celeryfleet.errors import Exit, FleetError
from celeryfleet.plan.values import Plan
from celeryfleet.protocol import Difference, Done, Request, Running, Settled, SupervisorStatus, Tasks
from celeryfleet.records import Record
from celeryfleet.supervise import process
from celeryfleet.supervise.decide.apply import apply
from celeryfleet.supervise.decide.difference import difference
from celeryfleet.supervise.decide.events import RetryAsked
from celeryfleet.supervise.decide.readiness import imported, readiness
from celeryfleet.supervise.decide.target import Target
from celeryfleet.supervise.namesake import Claim
from celeryfleet.supervise.reconciler import Reconciler
from celeryfleet.supervise.status import describe
from celeryfleet.supervise.workers import Workers

#: replicas of one pool at most: more is a mistake, and each takes a process
_REPLICAS = 1000


class Dispatcher:
    """Turns requests into events, and the state into replies."""

    def __init__(self, fleet: Reconciler, workers: Workers, claim: Claim, follow: Callable[[Plan], None]) -> None:
        self._fleet = fleet
        self._workers = workers
        self._claim = claim
        #: takes another plan; raises OSError where it can't
        self._follow = follow
        self._started = time.monotonic()
        #: who waits, and whether for no more than the import of the app
        self._waiting: dict[asyncio.Future[bool], bool] = {}

    async def __call__(self, request: Request, at_end: list[Callable[[], None]]) -> Record:
        """Answer one request; what is put into `at_end` is called when its connection ends. Raises FleetError."""
        fleet = self._fleet
        match request:
            case protocol.GetStatus(exact):
                if exact:
                    await self._workers.poke()
                return self._status(exact)
            case protocol.GetTasks():
                return Tasks(fleet.state.tasks)
            case protocol.GetPlan():
                return Running(fleet.plan.to_json())
            case protocol.Apply():
                return self._apply(request)
            case protocol.Scale(replicas):
                self._scale(replicas)
            case protocol.Restart(pools):
                self._require(pools)
                fleet.happen(request)
            case protocol.Pause() | protocol.Stop():
                fleet.happen(request)
            case protocol.Wait(timeout, only_import):
                return Settled(await self._wait(timeout, only_import), self._status(exact=False))
            case protocol.Attach():
                fleet.say("the fleet belongs to a terminal")
                at_end.append(self._detached)
        return Done()

    def _detached(self) -> None:
        if not self._fleet.state.stopping:
            self._fleet.say("the terminal that the fleet belongs to is gone")
            self._fleet.happen(protocol.Stop())

    def settle(self) -> None:
        """Answer those who wait, if the fleet has become what they wait for."""
        target, state = self._fleet.target, self._fleet.state
        for waiter, only_import in self._waiting.items():
            settled = imported(target, state) if only_import else readiness(target, state).settled
            if settled is not None and not waiter.done():
                waiter.set_result(settled)

    async def _wait(self, timeout: float | None, only_import: bool) -> bool | None:
        """Return True when the fleet is ready, False when it can't become so, None when the time is over."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = only_import
        self._fleet.schedule()
        try:
            return await asyncio.wait_for(waiter, timeout)
        except TimeoutError:
            return None
        finally:
            del self._waiting[waiter]

    # --- Changes ------------------------------------------------------------------------------------------

    def _apply(self, request: protocol.Apply) -> Record:
        """Follow another plan, and give what has failed another try; or say what that would do."""
        fleet, old, now = self._fleet, self._fleet.plan, time.monotonic()
        plan = self._successor(request)
        if request.dry_run:
            state = apply(fleet.state, RetryAsked(), now)
            return Difference(difference(fleet.target, Target.of(plan), state, now))
        self._claim.take(plan)
        try:
            self._follow(plan)
        except OSError as error:
            self._claim.take(old)
            raise FleetError(
                f"the fleet goes on as it was: settings.json could not be written: {error.strerror}.",
                code=Exit.FAILURE,
            ) from error
        fleet.happen(RetryAsked())
        return Done()

    def _successor(self, request: protocol.Apply) -> Plan:
        """Return the plan to follow after the one that is followed. Raises FleetError where it can't be followed."""
        old, plan = self._fleet.plan, Plan.from_json(request.plan)
        if self._fleet.state.stopping:
            raise FleetError("the fleet is stopping.", hint="Try again when it has stopped.", code=Exit.NOT_READY)
        moved = plan.broker != old.broker and (plan.broker.argv or old.broker.argv)
        if plan.state_dir != old.state_dir or moved:
            raise FleetError(
                "the fleet's name or its embedded broker changed, which a running fleet can't follow.",
                hint="Run `celeryfleet down`, then `celeryfleet up`.",
                code=Exit.NOT_READY,
            )
        if request.only:
            plan = plan.beside(old, request.only)
        pools = tuple(
            replace(pool, replicas=running.replicas, some_numbers=running.some_numbers)
            if (running := old.pool(pool.name)) and (request.reload or pool.autoscale)
            else pool
            for pool in plan.pools
        )
        return replace(plan, pools=pools, generation=old.generation + request.reload).after(old)

    def _scale(self, replicas: dict[str, int]) -> None:
        self._require(replicas)
        for name, number in replicas.items():
            if not 0 <= number <= _REPLICAS:
                raise FleetError(f"{name} can have 0 to {_REPLICAS} replicas, not {number}.")
            if self._fleet.target.pools[name].implementation == "beat":
                raise FleetError("beat can't be scaled: two would send every task twice.")
        if replicas:
            self._fleet.aim(self._fleet.plan.scaled(replicas))

    def _require(self, names: Iterable[str]) -> None:
        """Raise FleetError for pools that there are not."""
        known = self._fleet.target.pools
        for name in names:
            if name not in known:
                raise FleetError(f'there is no pool "{name}".', hint=f"The pools are {', '.join(known)}.")

    def _status(self, exact: bool) -> protocol.Status:
        fleet, now = self._fleet, time.monotonic()
        pids = [worker.pid for worker in fleet.state.workers.values() if worker.pid is not None]
        resident = process.resident_by_session(pids) if exact else {}
        supervisor = SupervisorStatus(os.getpid(), round(now - self._started, 1))
        return describe(fleet.target, fleet.state, now, supervisor, resident)

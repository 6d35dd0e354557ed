"""What the supervisor does about each request on its control socket."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from celeryfleet import protocol
from celeryfleet.errors import Exit, FleetError
from celeryfleet.hosts.messages import FindTasks, GetReport, HostTrouble, Report, Retry
from celeryfleet.plan.values import Plan
from celeryfleet.protocol import AlertStatus, Difference, Done, Request, Running, Settled, SupervisorStatus, Tasks
from celeryfleet.records import Record
from celeryfleet.supervise import process
from celeryfleet.supervise.companion import Companion
from celeryfleet.supervise.decide.apply import apply
from celeryfleet.supervise.decide.difference import difference
from celeryfleet.supervise.decide.events import RetryAsked
from celeryfleet.supervise.decide.readiness import failed, gone, imported, readiness
from celeryfleet.supervise.decide.target import Target
from celeryfleet.supervise.namesake import Claim
from celeryfleet.supervise.reconciler import Reconciler
from celeryfleet.supervise.status import describe
from celeryfleet.supervise.workers import Workers
from celeryfleet.text import listed

#: all that is answered on the control socket
Asked = Request | protocol.Marks | GetReport | FindTasks | Retry | HostTrouble
#: replicas of one pool at most: more is a mistake, and each takes a process
_REPLICAS = 1000
#: alerts that a line of `status` names
_SHOWN = 3


class Dispatcher:
    """Turns requests into events, and the state into replies."""

    def __init__(
        self,
        fleet: Reconciler,
        workers: Workers,
        claim: Claim,
        follow: Callable[[Plan], None],
        alerts: Callable[[], tuple[AlertStatus, ...]] = tuple,
    ) -> None:
        self._fleet = fleet
        self._workers = workers
        self._claim = claim
        #: says which are on
        self._alerts = alerts
        self.page = Companion(fleet.home / "logs" / "ui.log", fleet.say)
        #: takes another plan; raises OSError where it can't
        self._follow = follow
        self._started = time.monotonic()
        #: what is wrong between hosts
        self._trouble = ""
        #: who waits, and for what
        self._waiting: dict[asyncio.Future[bool], protocol.Wait] = {}

    async def __call__(self, request: Asked, at_end: list[Callable[[], None]]) -> Record:
        """Answer one request; what is put into `at_end` is called when its connection ends. Raises FleetError."""
        fleet = self._fleet
        match request:
            case protocol.GetStatus(exact) | GetReport(exact):
                if exact:
                    await self._workers.poke()
                return self._report(exact) if isinstance(request, GetReport) else self._status(exact)
            case protocol.GetTasks():
                return Tasks(tuple(sorted({task for app in fleet.state.apps.values() for task in app.tasks})))
            case protocol.IsRevoked(task_id):
                return protocol.Verdict(self._workers.is_revoked(task_id))
            case protocol.GetPlan():
                return Running(fleet.plan.to_json())
            case protocol.Apply():
                return self._apply(request)
            case protocol.Scale(replicas):
                self._scale(replicas)
            case protocol.Restart(pools):
                self._require(pools)
                fleet.happen(request)
            case protocol.Pause():
                if not request.here:
                    fleet.happen(self._marks(request))
                fleet.happen(request)
            case protocol.Marks():
                known_here = {queue.name for queue in fleet.plan.queues}
                marks = tuple(mark for mark in request.marks if mark.queue in known_here)
                fleet.happen(protocol.Marks(marks, time.time()))
            case protocol.Stop():
                stopping = {worker.pool for worker in fleet.state.workers.values()}
                self._require(pool for pool in request.pools if pool not in stopping)
                self._stop(request)
            case protocol.Wait():
                return Settled(await self._wait(request), self._status(exact=False))
            case protocol.Revoke(ids, terminate):
                self._workers.revoke(ids, terminate)
            case protocol.WriteLedger():
                await self._workers.poke()
                await self._workers.written()
                return protocol.Written(self._workers.unwritten)
            case FindTasks():
                if fleet.plan.ledger is None:
                    raise FleetError("this host keeps no ledger.")
                from celeryfleet.hosts.tasks import known

                await self._workers.poke()
                await self._workers.written()
                return await asyncio.to_thread(known, fleet.plan.ledger.file, request)
            case Retry(ids, again):
                options = ["--again"] if again else []
                process.spawn(process.command(fleet.plan.file, "retry", *options, "--", *ids), os.environ)
            case HostTrouble(text, note):
                self._trouble = text if note else self._trouble
                if text:
                    fleet.say(text)
            case protocol.ShowPage(words):
                return protocol.Shown(await self.page.show(words))
            case protocol.Attach(pools):
                fleet.say(f"{_belong(pools)} to a terminal")
                at_end.append(partial(self._detached, pools))
        return Done()

    def _detached(self, pools: tuple[str, ...]) -> None:
        if not self._fleet.state.stopping and (not pools or self._fleet.target.pools.keys() & set(pools)):
            self._fleet.say(f"the terminal that {_belong(pools)} to is gone")
            self._stop(protocol.Stop(pools=pools))

    def _stop(self, stop: protocol.Stop) -> None:
        """Stop some pools; all of the fleet if none are named, or if nothing else would be left."""
        rest = self._fleet.plan.without(stop.pools)
        if stop.pools and (rest.pools or rest.beat):
            self._fleet.happen(stop)
            self._fleet.aim(rest)
        else:
            self._fleet.happen(stop.but(pools=()))

    def settle(self) -> None:
        """Answer those who wait, if the fleet has become what they wait for."""
        target, state = self._fleet.target, self._fleet.state
        for waiter, wait in self._waiting.items():
            match wait.until:
                case "imported":
                    settled = imported(target, state, wait.pools)
                case "failed":
                    settled = failed(target, state, wait.pools)
                case "gone":
                    settled = gone(target, state, wait.pools)
                case _:
                    settled = readiness(target, state, wait.pools).settled
            if settled is not None and not waiter.done():
                waiter.set_result(settled)

    async def _wait(self, wait: protocol.Wait) -> bool | None:
        """Return True when the fleet is what is waited for, False when it can't become so, None when time is over."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = wait
        self._fleet.schedule()
        try:
            return await asyncio.wait_for(waiter, wait.timeout)
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
            state = apply(fleet.state, RetryAsked(request.only), now)
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
        fleet.happen(RetryAsked(request.only))
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
        if plan.host != old.host:
            raise FleetError(
                f"it runs here as host {old.host}, and cannot become {plan.host} while it runs.",
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
                from celeryfleet.fleetfile.suggest import unknown  # the supervisor needs it for nothing else

                raise unknown("pool", name, known)

    def _status(self, exact: bool) -> protocol.Status:
        fleet, now = self._fleet, time.monotonic()
        pids = [worker.pid for worker in fleet.state.workers.values() if worker.pid is not None]
        resident = process.resident_by_session(pids) if exact else {}
        supervisor = SupervisorStatus(os.getpid(), round(now - self._started, 1))
        found = describe(fleet.target, fleet.state, now, supervisor, resident)
        alerts = self._alerts()
        texts = [alert.text for alert in alerts[:_SHOWN]]
        texts += [f"and {len(alerts) - _SHOWN} more"] if len(alerts) > _SHOWN else []
        on = [f"Alerts: {'; '.join(texts)}."] if texts else []
        on += filter(None, (self._trouble, self._workers.unwritten))
        return found.but(notes=(*found.notes, *on), alerts=alerts)

    def _marks(self, pause: protocol.Pause) -> protocol.Marks:
        """Say for all hosts what differs from what was said last."""
        host, state, now = self._fleet.plan.host, self._fleet.state, time.time()
        by = f"{pause.by} on {host}" if pause.by else f"host {host}"
        changed = []
        for queue in state.paused.symmetric_difference(pause.queues).union(pause.named):
            mark, paused = state.marks.get(queue), queue in pause.queues
            if paused != (mark is not None and mark.paused):
                changed.append(protocol.Mark(queue, mark.version + 1 if mark else 1, paused, by, now))
        return protocol.Marks(tuple(changed), now)

    def _report(self, exact: bool) -> Report:
        status, place = self._status(exact), f"{socket.gethostname()}:{os.path.dirname(self._fleet.plan.file)}"  # noqa: PTH120
        status = status.but(backlog=status.backlog.but(url="", settings={}))
        return Report(self._workers.owner, place, time.time(), status, tuple(self._fleet.state.marks.values()))


def _belong(pools: tuple[str, ...]) -> str:
    return f"{listed(pools)} {'belong' if len(pools) > 1 else 'belongs'}" if pools else "the fleet belongs"

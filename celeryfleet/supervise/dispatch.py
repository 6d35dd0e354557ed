"""What the supervisor answers to requests on its control socket."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import Exit, FleetError
from celeryfleet.plan.values import Plan
from celeryfleet.supervise import process
from celeryfleet.supervise.core import Core
from celeryfleet.supervise.decide.decide import settled
from celeryfleet.supervise.decide.events import PauseAsked, RestartAsked, RetryAsked, StopAsked
from celeryfleet.supervise.decide.state import Status
from celeryfleet.supervise.decide.target import Target
from celeryfleet.supervise.namesake import Claim
from celeryfleet.supervise.status import describe, fleet_state
from celeryfleet.supervise.workers import Crew

if TYPE_CHECKING:
    from celeryfleet.protocol import Message

#: replicas of one pool at most: more is a mistake, and each takes a process
_REPLICAS = 1000


class Answers:
    """Turns requests into events, and the state into replies."""

    def __init__(self, core: Core, crew: Crew, claim: Claim, follow: Callable[[Plan], None]) -> None:
        self._core = core
        self._crew = crew
        self._claim = claim
        #: takes another plan; raises OSError where it can't
        self._follow = follow
        self._started = time.monotonic()
        self._waiting: list[asyncio.Future[bool]] = []

    async def __call__(self, message: Message) -> Message:
        """Answer one request. Raises FleetError."""
        core = self._core
        match message.get("do"):
            case "health":
                return self._health()
            case "status":
                await self._crew.poke()
                return {"status": self._status()}
            case "tasks":
                return {"tasks": core.tasks}
            case "plan":
                return {"plan": core.plan.to_json()}
            case "apply":
                self._apply(Plan.from_json(message["plan"]))
            case "scale":
                self._scale(message["replicas"])
            case "restart":
                core.happen(RestartAsked(self._pools(message["pools"]), bool(message.get("rolling"))))
            case "pause":
                core.happen(PauseAsked(frozenset(map(str, message["queues"]))))
            case "stop":
                core.happen(StopAsked(bool(message.get("cold")), message.get("grace")))
            case "wait":
                return {"done": await self._wait(message.get("timeout")), "status": self._status()}
            case "leash":
                core.say("the fleet belongs to a terminal")
            case "unleash":
                if not core.state.stopping:
                    core.say("the terminal that the fleet belongs to is gone")
                    core.happen(StopAsked())
            case unknown:
                raise FleetError(f"the supervisor does not know the request {unknown!r}", code=Exit.FAILURE)
        return {}

    def settle(self) -> None:
        """Answer those who wait, if the fleet has become what they wait for."""
        verdict = settled(self._core.target, self._core.state)
        if verdict is not None:
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_result(verdict)

    async def _wait(self, timeout: float | None) -> bool | None:
        """Return True when the fleet is ready, False when it can't become so, None when the time is over."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._core.schedule()
        try:
            return await asyncio.wait_for(waiter, timeout)
        except TimeoutError:
            return None
        finally:
            self._waiting.remove(waiter)

    # --- Changes ------------------------------------------------------------------------------------------

    def _apply(self, plan: Plan) -> None:
        """Follow another plan, and give what has failed another try."""
        old = self._core.plan
        if self._core.state.stopping:
            raise FleetError("the fleet is stopping.", hint="Try again when it has stopped.", code=Exit.NOT_READY)
        moved = plan.broker != old.broker and (plan.broker.argv or old.broker.argv)
        if plan.state_dir != old.state_dir or moved:
            raise FleetError(
                "the fleet's name or its embedded broker changed, which a running fleet can't follow.",
                hint="Run `celeryfleet down`, then `celeryfleet up`.",
                code=Exit.NOT_READY,
            )
        kept = {
            pool.name: old_pool.replicas for pool in plan.pools if (old_pool := old.pool(pool.name)) and pool.autoscale
        }
        self._claim.take(plan)
        try:
            self._follow(plan.scaled(kept).after(old))
        except OSError as error:
            self._claim.take(old)
            raise FleetError(
                f"the fleet goes on as it was: settings.json could not be written: {error.strerror}.",
                code=Exit.FAILURE,
            ) from error
        self._core.happen(RetryAsked())

    def _scale(self, replicas: dict[str, int]) -> None:
        if not replicas:
            return
        for name in self._pools(replicas):
            if type(replicas[name]) is not int or not 0 <= replicas[name] <= _REPLICAS:
                raise FleetError(f"{name} can have 0 to {_REPLICAS} replicas, not {replicas[name]!r}.")
            if self._core.target.pools[name].kind == "beat":
                raise FleetError("beat can't be scaled: two would send every task twice.")
        self._core.target = Target.of(self._core.plan.scaled(replicas))
        self._core.schedule()

    def _pools(self, names: Any) -> frozenset[str]:
        """Return the pools that are meant; none named: all. Raises FleetError for unknown ones."""
        known = self._core.target.pools
        for name in names:
            if name not in known:
                raise FleetError(f'there is no pool "{name}".', hint=f"The pools are {', '.join(known)}.")
        return frozenset(names or known)

    # --- Replies ------------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        core, now = self._core, time.monotonic()
        pids = [worker.pid for worker in core.state.workers.values() if worker.pid is not None]
        status = describe(core.target, core.state, now, process.resident_by_session(pids))
        status["supervisor"] = {"pid": os.getpid(), "uptime_s": round(now - self._started, 1)}
        return status

    def _health(self) -> Message:
        core = self._core
        pools = {name: [pool.replicas, 0] for name, pool in core.target.pools.items()}
        for name, spec in core.target.specs.items():
            worker = core.state.workers.get(name)
            pools[spec.pool][1] += worker is not None and worker.status is Status.READY
        ready = settled(core.target, core.state) is True
        return {
            "fleet": core.plan.fleet,
            "state": fleet_state(core.target, core.state),
            "ready": ready,
            "pools": pools,
        }

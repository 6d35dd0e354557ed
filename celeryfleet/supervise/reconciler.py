"""The loop of a supervisor: events change the state, decisions follow from it, and actions are carried out."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any

from celeryfleet.plan.values import Plan
from celeryfleet.supervise.decide.actions import Action, Finish
from celeryfleet.supervise.decide.apply import apply
from celeryfleet.supervise.decide.decide import decide
from celeryfleet.supervise.decide.events import Did, Event, Overslept
from celeryfleet.supervise.decide.state import FleetState
from celeryfleet.supervise.decide.target import Target

#: rounds of deciding before something must have gone wrong: actions lead to states, not to each other for ever
_ROUNDS = 1000
#: seconds that a turn may be late before the machine, not the workers, must have stood still
_LATE = 5.0
#: seconds before another turn where one has failed
_AGAIN = 1.0


class Reconciler:
    """Brings a fleet to its plan. `aim` and `happen` are the only ways to change what is wanted and what is."""

    def __init__(self, plan: Plan, execute: Callable[[Action], None], after: Callable[[], None]) -> None:
        self.target = Target.of(plan)
        self.state = FleetState()
        self.home = Path(plan.state_dir)
        self._execute = execute
        #: called after each turn
        self._after = after
        #: nothing of the fleet is left
        self.finished = asyncio.Event()
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._background: set[asyncio.Task[None]] = set()

    @property
    def plan(self) -> Plan:
        """What should run."""
        return self.target.plan

    def aim(self, plan: Plan) -> None:
        """Follow another plan from now on."""
        self.target = self.target.followed_by(plan, self.state.imported(self.plan.generation))
        self.schedule()

    def happen(self, event: Event) -> None:
        """Take an event into the state; what is to be done about it is decided soon."""
        self.state = apply(self.state, event, time.monotonic())
        self.schedule()

    # --- Turns --------------------------------------------------------------------------------------------

    def schedule(self) -> None:
        """Have a turn of deciding soon, however often this is called before it comes."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._scheduled = False
        try:
            self._turn()
        except Exception as error:  # a bug, or a machine out of something: the fleet must not go unsupervised
            self.trouble("a decision could not be carried out", error)
            asyncio.get_running_loop().call_later(_AGAIN, self.schedule)

    def _turn(self) -> None:
        """Decide and carry out until there is nothing more to do now."""
        self._notice_late()
        for _ in range(_ROUNDS):
            if self.finished.is_set():
                return
            now = time.monotonic()
            actions, wake_at = decide(self.target, self.state, now)
            if not actions:
                break
            for action in actions:
                self.say(str(action))
                self.state = apply(self.state, Did(action), now)
                self._execute(action)
                if isinstance(action, Finish):
                    self.finished.set()
        else:
            raise AssertionError(f"the decisions never settle: {actions}")
        self._wake(wake_at)
        self._after()

    def _wake(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = at
        self._timer = None if at is None else asyncio.get_running_loop().call_at(at, self.schedule)

    def _notice_late(self) -> None:
        """Allow for a machine that stood still (a paused container): nobody could give a sign of life meanwhile."""
        now = time.monotonic()
        if self._due is not None and now > self._due + _LATE:
            self.say(f"the machine, or the supervisor, stood still for {now - self._due:.0f} s")
            self.state = apply(self.state, Overslept(now - self._due), now)
        self._due = None

    # --- Beside the turns ---------------------------------------------------------------------------------

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the loop, and keep hold of it."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.trouble("work in the background has failed", error)

    def say(self, text: str) -> None:
        """Write to supervisor.log, which is our stdout, with the time."""
        now = datetime.now().isoformat(" ", "milliseconds")
        print("\n".join(f"{now} {line}" for line in text.splitlines()))

    def trouble(self, what: str, error: BaseException) -> None:
        """Write to supervisor.log what should not have happened, with its traceback."""
        self.say(f"{what}: {error!r}\n{''.join(traceback.format_exception(error))}")

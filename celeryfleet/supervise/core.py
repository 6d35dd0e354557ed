"""What the parts of a supervisor share: the plan, the state, the inbox of events, and the log."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeryfleet.plan.values import Plan
from celeryfleet.supervise.decide.apply import apply
from celeryfleet.supervise.decide.events import Event
from celeryfleet.supervise.decide.state import FleetState
from celeryfleet.supervise.decide.target import Target

if TYPE_CHECKING:
    from celeryfleet.protocol import Message

#: seconds before another turn where one has failed
_AGAIN = 1.0


class Core:
    """One fleet as its supervisor sees it; every change of the state goes through `happen`."""

    def __init__(self, plan: Plan, turn: Callable[[], None]) -> None:
        self.target = Target.of(plan)
        self.state = FleetState()
        self.home = Path(plan.state_dir)
        #: names of the tasks that the app has registered
        self.tasks: list[str] = []
        self._turn = turn
        self._turning = False
        self._background: set[asyncio.Task[None]] = set()

    @property
    def plan(self) -> Plan:
        """What should run."""
        return self.target.plan

    def happen(self, event: Event) -> None:
        """Take an event into the state; what is to be done about it is decided soon."""
        self.state = apply(self.state, event, time.monotonic())
        self.schedule()

    def schedule(self) -> None:
        """Have a turn of deciding soon, however often this is called before it comes."""
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turning = False
        try:
            self._turn()
        except Exception as error:  # a bug, or a machine out of something: the fleet must not go unsupervised
            self.trouble("a decision could not be carried out", error)
            asyncio.get_running_loop().call_later(_AGAIN, self.schedule)

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

    def app(self) -> Message:
        """Tell a worker process what app it runs."""
        plan = self.plan
        return {
            "app": plan.app,
            "django": plan.django,
            "folder": str(Path(plan.file).parent),
            "settings": plan.settings,
            "settings_file": str(self.home / "settings.json"),
        }

    def log(self, name: str) -> Message:
        """Tell a worker process where and how it logs."""
        logs = self.plan.logs
        return {"path": str(self.home / "logs" / f"{name}.log"), "max_size": logs.max_size, "max_files": logs.max_files}

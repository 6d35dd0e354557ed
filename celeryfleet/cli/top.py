"""The command of the live screen: top."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from celeryfleet.cli import hosts
from celeryfleet.errors import Exit, FleetError

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.history import Moment
    from celeryfleet.logs.read import Follower
    from celeryfleet.records import Record

#: workers that are asked at each look how they are; more of them are asked less often
_ASKED = 20
#: columns of an answer
_COLUMNS = 64
#: seconds that the supervisor may take to say how the fleet is
PATIENCE = 3.0


def top(context: typer.Context) -> int:
    """Show the fleet live, with keys to sort, filter, scale, pause and restart; ? lists them.

    It needs Textual: pip install "celeryfleet\\[top]"

    Examples: [bold]celeryfleet top[/]
    """
    if find_spec("textual") is None:
        raise FleetError("`celeryfleet top` needs Textual.", hint='Install it: pip install "celeryfleet[top]"')
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise FleetError("`celeryfleet top` needs a terminal.", hint="In a script, call `celeryfleet status --json`.")
    from celeryfleet.top.screen import Top

    fleet = Live(context.obj)
    Top(fleet, fleet.look()).run()
    return Exit.OK


class Live:
    """A fleet as the live screen looks at it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        #: looks for which the workers are not asked
        self._spared = 0

    @property
    def session(self) -> Session:
        """What commands know of it."""
        return self._session

    def look(self) -> Moment:
        """Say how the fleet is now, running or not; of 200 workers only some looks wake them all up to ask them."""
        import sqlite3

        from celeryfleet.history import WINDOW, Moment
        from celeryfleet.ledger.entry import RUNNING
        from celeryfleet.ledger.read import Ledger

        exact, session = self._spared == 0, self.session
        status = hosts.joined(session, exact, PATIENCE)
        self._spared = sum(len(pool.workers) for pool in status.pools) // _ASKED if exact else self._spared - 1
        now, plan = time.time(), session.followed.ledger
        if plan is None or status.state == "down":
            return Moment(now, status)
        try:
            with Ledger(plan.file) as ledger:
                return Moment(now, status, tuple(ledger.held(RUNNING)), ledger.rates(WINDOW, now))
        except (FleetError, sqlite3.Error) as error:
            return Moment(now, status.but(notes=(*status.notes, f"The ledger cannot be read: {error}.")))

    def do(self, request: Record) -> None:
        """Have the supervisor do something."""
        hosts.do(self.session, request)

    def logs(self, of: str) -> Follower:
        """Follow the logs of a pool or a worker; empty: all."""
        from celeryfleet.logs.choose import is_of
        from celeryfleet.logs.read import Follower

        folder = Path(self.session.followed.state_dir) / "logs"
        return Follower(folder, lambda name: not of or is_of(name, [of]))

    def why(self, what: str) -> list[str]:
        """Say how a queue stands, or where a task is and why it is not further."""
        from celeryfleet.cli.why import answered
        from celeryfleet.render.why import lines

        return list(lines(answered(self.session, what), [], True, _COLUMNS))

"""Messages that workers have set aside, since their tasks ended or hung them again and again: shown, and sent again.

They lie in a queue of the broker's (`<fleet>.failed`) with all that they had, and with a header that says where they
came from and why they are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeryfleet.client.in_hand import move, peek
from celeryfleet.ledger.entry import FAILED, Entry
from celeryfleet.protocol import PARKED_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeryfleet.client.messages import Message
    from celeryfleet.plan.values import Plan


def found(plan: Plan) -> list[Entry]:
    """Return all that is parked, oldest first. Raises FleetError if the broker can't be asked."""
    return [one for message in peek(plan, plan.parked) if (one := _parked(message)) is not None]


def retry(plan: Plan, wanted: Callable[[Entry], bool]) -> list[Entry]:
    """Send again what is wanted, each to the queue it came from, as the message it was; return those, oldest first.

    Raises FleetError.
    """

    def home(message: Message) -> str | None:
        one = _parked(message)
        return one.queue if one is not None and wanted(one) else None

    return [one for message in move(plan, plan.parked, home) if (one := _parked(message)) is not None]


def _parked(message: Message) -> Entry | None:
    """Read what a worker has written into a message's headers; None: it is somebody else's."""
    try:
        about = message.headers[PARKED_HEADER]
        task_id, task = (str(message.headers[name]) for name in ("id", "task"))
        worker, queue, error = (str(about[name]) for name in ("worker", "queue", "error"))
        return Entry(worker, task_id, task, queue, FAILED, ended=round(float(about["at"]) * 1000), error=error)
    except (LookupError, TypeError, ValueError, OverflowError):
        return None

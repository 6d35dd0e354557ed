"""Messages that workers have set aside, since their tasks ended or hung them again and again: shown, and sent again.

They lie in a queue of the broker's (`<fleet>.failed`) with all that they had, and with a header that says where they
came from and why they are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celeryfleet.client.in_hand import move, peek
from celeryfleet.protocol import PARKED_HEADER

if TYPE_CHECKING:
    from celeryfleet.client.messages import Message
    from celeryfleet.plan.values import Plan


@dataclass(frozen=True, slots=True)
class Parked:
    """One message that was set aside."""

    id: str
    task: str
    #: where it came from
    queue: str
    worker: str
    #: unix seconds
    at: float
    error: str

    @classmethod
    def of(cls, headers: Mapping[str, Any]) -> Parked:
        """Read it from a message's headers. Raises ValueError if a worker has not written them."""
        try:
            about = headers[PARKED_HEADER]
            return cls(
                id=str(headers["id"]),
                task=str(headers["task"]),
                queue=str(about["queue"]),
                worker=str(about["worker"]),
                at=float(about["at"]),
                error=str(about["error"]),
            )
        except (LookupError, TypeError) as error:
            raise ValueError(f"no worker has parked this message: {error!r}") from None

    @property
    def report(self) -> dict[str, Any]:
        """Return what `failed --json` shows of it; it has not run to its end, so there are no times."""
        times = {"wait_s": None, "runtime_s": None}
        shown = {"id": self.id, "task": self.task, "queue": self.queue, "worker": self.worker, "at": self.at}
        return {**shown, **times, "error": self.error, "retried_as": None}


def found(plan: Plan) -> list[Parked]:
    """Return all that is parked, oldest first. Raises FleetError if the broker can't be asked."""
    return [one for message in peek(plan, plan.parked) if (one := _parked(message)) is not None]


def retry(plan: Plan, wanted: Callable[[Parked], bool]) -> list[Parked]:
    """Send again what is wanted, each to the queue it came from, as the message it was; return those, oldest first.

    Raises FleetError.
    """

    def home(message: Message) -> str | None:
        one = _parked(message)
        return one.queue if one is not None and wanted(one) else None

    return [one for message in move(plan, plan.parked, home) if (one := _parked(message)) is not None]


def _parked(message: Message) -> Parked | None:
    """Read a message; None: it is somebody else's."""
    try:
        return Parked.of(message.headers)
    except ValueError:
        return None

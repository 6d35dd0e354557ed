"""What a broker does for the hosts that share it: redis.py has it of a Redis, client/rabbit_hosts.py of a RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar

from celeryfleet.records import Record, parse

if TYPE_CHECKING:
    from celeryfleet.hosts.messages import Answer, Remote, Report
    from celeryfleet.protocol import Mark

R = TypeVar("R", bound=Record)


class Hosts(Protocol):
    """A connection to the broker that the hosts share; every method raises BrokerError where it fails."""

    def close(self) -> None:
        """Hang up."""

    # --- Of a supervisor ----------------------------------------------------------------------------------

    def leave(self, host: str, report: Report) -> Report | None:
        """Leave a report in the place of the one that was there, and return that one."""

    def marks(self) -> tuple[Mark, ...]:
        """Return what is kept of queues that are paused on all hosts; nothing also while another host reads it."""

    def share(self, marks: tuple[Mark, ...]) -> None:
        """Keep this in its place."""

    def withdraw(self, host: str) -> None:
        """Remove a host's report: it has stopped on purpose."""

    def take(self, host: str, seconds: int) -> tuple[str, Remote] | None:
        """Wait so long for a request; return who wants to know, and it. Raises ValueError for what is none."""

    def reply(self, asker: str, answer: Record) -> None:
        """Answer a request."""

    # --- Of whoever asks ----------------------------------------------------------------------------------

    def read(self, names: Iterable[str]) -> dict[str, tuple[Report, float]]:
        """Return the report of each host, also of those that are not named if that can be, and its age in seconds."""

    def ask(self, host: str, request: Record, seconds: float) -> Answer | None:
        """Ask a host; None: it has not answered within so many seconds."""


def left(kind: type[R], text: object) -> R | None:
    """Read what was left in the broker; None: nothing, or what another version or a stranger has left."""
    try:
        found: R = parse(kind, text)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return None
    return found

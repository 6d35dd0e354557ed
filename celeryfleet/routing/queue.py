"""A queue as it is declared on the broker, and the error that names one which is not declared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from celeryfleet.errors import FleetError
from celeryfleet.text import listed


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as it is declared on the broker."""

    name: str
    exchange: str
    exchange_type: str = "direct"
    routing_key: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    #: seconds after which status turns amber; None: never
    max_age: float | None = None
    #: of a headers exchange: what it wants of a message, with x-match; empty: nothing, it gets all
    headers: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, entity: Any) -> Queue:
        """Read a `kombu.Queue`, which is not imported for it."""
        return cls(
            name=entity.name,
            exchange=entity.exchange.name,
            exchange_type=entity.exchange.type,
            routing_key=entity.routing_key or "",
            arguments=dict(entity.queue_arguments or {}),
            headers=dict(entity.binding_arguments or {}),
        )


def unknown(name: object, queues: Iterable[str], namer: str = "", where: str = "") -> FleetError:
    """Say that there is no such queue, with a guess; `namer` says who has named it, if not the caller."""
    from celeryfleet.fleetfile.suggest import did_you_mean  # producers need none of it

    names = list(queues)
    hint = did_you_mean(str(name), names) or f"The fleet declares {listed(names)}."
    return FleetError(f'the queue "{name}"{namer} is unknown.', where, hint)

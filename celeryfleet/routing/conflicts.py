"""What RabbitMQ says when a queue or an exchange exists otherwise than declared, told in fleet.yaml's words; pure.

RabbitMQ compares one argument after the other and names the first that differs, in a 406 (seen in 3.10):
`inequivalent arg 'x-max-priority' for queue 'video' in vhost '/': received '10' but current is '5'`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celeryfleet.errors import Exit, FleetError, Problem
from celeryfleet.text import counted, listed

#: keys of fleet.yaml that are queue arguments, by the argument
KEYS = {"x-max-priority": "max_priority", "x-max-length": "max_length", "x-queue-type": "type"}
#: what the broker takes where an argument is not there
_DEFAULTS = {"x-queue-type": "classic"}

_UNLIKE = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)' for (?P<entity>queue|exchange) '(?P<name>.*?)' in vhost '(?P<vhost>.*?)': "
    r"received (?P<received>.+) but current is (?P<current>.+)",
    re.DOTALL,
)
_INVALID = re.compile(
    r"invalid arg '(?P<argument>[^']+)' for (?P<entity>queue) '(?P<name>.*?)' in vhost '(?P<vhost>.*?)'"
)
_TYPED = re.compile(r"the value '(?P<value>.*)' of type '(?P<type>\w+)'", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One 406: the first thing in which a definition is not that of the broker, or that the broker never takes."""

    #: queue or exchange
    entity: str
    name: str
    vhost: str
    #: x-max-priority, durable, type…
    argument: str
    #: what was declared, as text; None: nothing
    received: str | None
    #: what the broker has, as text; None: nothing
    current: str | None
    #: signedint, longstr, bool…; empty: the same as what was received
    type: str = ""
    #: the broker takes no such argument for such a queue
    invalid: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """A queue or an exchange that cannot be declared as fleet.yaml has it."""

    #: queue or exchange
    entity: str
    name: str
    #: the queue of fleet.yaml that it belongs to
    queue: str
    #: all that differs; empty: the broker refuses it for another reason
    refusals: tuple[Refusal, ...]
    #: what waits in the queue; None: not known, or an exchange
    messages: int | None = None
    #: what the broker said last
    text: str = ""


def refusal(text: str) -> Refusal | None:
    """Read the text of a 406; None if it is about something else."""
    found = _UNLIKE.search(text)
    if found:
        received, _ = _value(found["received"])
        current, kind = _value(found["current"])
        return Refusal(found["entity"], found["name"], found["vhost"], found["argument"], received, current, kind)
    found = _INVALID.search(text)
    if found:
        named = (found["entity"], found["name"], found["vhost"], found["argument"])
        return Refusal(*named, received=None, current=None, invalid=True)
    return None


def _value(text: str) -> tuple[str | None, str]:
    found = _TYPED.fullmatch(text)
    if found:
        return found["value"], found["type"]
    return (None if text == "none" else text.removeprefix("'").removesuffix("'")), ""


def adopted(arguments: Mapping[str, Any], refused: Refusal) -> dict[str, Any] | None:
    """Return queue arguments that agree with the broker in what it refused; None if that can't be said by them."""
    if refused.invalid or not refused.argument.startswith("x-"):
        return None
    rest = {key: value for key, value in arguments.items() if key != refused.argument}
    if refused.current is None:
        return rest
    kind = refused.type or type(arguments.get(refused.argument)).__name__
    return {**rest, refused.argument: _typed(refused.current, kind)}


def _typed(text: str, kind: str) -> Any:
    if kind == "bool":
        return text == "true"
    if kind == "float":
        return float(text)
    return int(text) if re.fullmatch(r"-?\d+", text) and kind not in ("longstr", "str") else text


# --- Telling ----------------------------------------------------------------------------------------------


def problem(conflict: Conflict, where: Callable[..., str] = lambda *_: "") -> Problem:
    """Say what differs, where it is written and what to do; `where` finds a path of fleet.yaml (`Fleet.where`)."""
    return Problem(_what(conflict), _where(conflict, where), _hint(conflict), "CF045")


def error(conflicts: Sequence[Conflict], where: Callable[..., str] = lambda *_: "") -> FleetError:
    """Make one error of all conflicts."""
    return FleetError.of((problem(conflict, where) for conflict in conflicts), Exit.USAGE)


def explained(text: str) -> str | None:
    """Tell a 406 of the broker's on one line; None if it is about something else."""
    refused = refusal(text)
    if refused is None:
        return None
    return str(problem(Conflict(refused.entity, refused.name, refused.name, (refused,), text=text)))


def _where(conflict: Conflict, where: Callable[..., str]) -> str:
    if conflict.entity == "exchange":
        return where("queues", conflict.queue, "exchange", "type")
    if not conflict.refusals:
        return where("queues", conflict.queue)
    argument = conflict.refusals[0].argument
    path = (KEYS[argument],) if argument in KEYS else ("arguments", argument)
    return where("queues", conflict.queue, *path)


def _what(conflict: Conflict) -> str:
    named = f'the {conflict.entity} "{conflict.name}"'
    if not conflict.refusals:
        return f"RabbitMQ refuses {named}: {conflict.text}."
    first = conflict.refusals[0]
    if first.invalid:
        return f"RabbitMQ takes no {KEYS.get(first.argument, first.argument)} for {named} as it is declared."
    return f"{named} is on the broker {listed([_difference(one) for one in conflict.refusals])}."


def _difference(refused: Refusal) -> str:
    key = refused.argument if refused.entity == "exchange" else KEYS.get(refused.argument, refused.argument)
    default = _DEFAULTS.get(refused.argument)
    current, received = refused.current or default, refused.received or default
    there = f"without {key}" if current is None else f"with {key} {current}"
    return f"{there} (fleet.yaml: {'none' if received is None else received})"


def _hint(conflict: Conflict) -> str:
    if not conflict.refusals:
        return "Give it another name, or have the broker's user permitted to configure it."
    first, name = conflict.refusals[0], shlex.quote(conflict.name)
    if first.invalid:
        return "A quorum queue knows no priorities: make it `type: classic`, or remove the key."
    vhost = "" if first.vhost == "/" else shlex.quote(first.vhost)
    if conflict.entity == "exchange":
        command = f"rabbitmqadmin{vhost and f' -V {vhost}'} delete exchange name={name}"
        return (
            "RabbitMQ never changes an exchange: write it in fleet.yaml as it is there, give it another name, or "
            f"delete it (`{command}`, or on the management page), and `celeryfleet up` declares it anew."
        )
    command = f"rabbitmqctl{vhost and f' -p {vhost}'} delete_queue {name} --if-empty"
    hint = f"RabbitMQ never changes a queue: write it in fleet.yaml as it is there, or delete it (`{command}`)"
    if conflict.messages:
        held = counted(conflict.messages, "message")
        return f"{hint} once workers with the old definition have emptied it: it holds {held}, which would be lost."
    return f"{hint}, and `celeryfleet up` declares it anew."

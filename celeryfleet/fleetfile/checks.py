"""What must agree across a fleet: names, and what refers to them; works on the tree, so half a fleet is enough."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from celeryfleet.errors import Problem
from celeryfleet.fleetfile import codes, names, settings
from celeryfleet.fleetfile.interpolate import emptied
from celeryfleet.fleetfile.subjects import quoted, subject
from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.fleetfile.tree import (
    Block,
    Entry,
    Listing,
    Mark,
    Node,
    Scalar,
    at,
    child,
    entries,
    is_null,
    plain,
    text,
)

_TOP_PRIORITY = 9
_EXAMPLE = "Declare one, such as queues: {default: {}}"
#: arguments that have a key of their own in a queue
_ARGUMENTS: Mapping[str, str] = {
    "x-max-priority": "max_priority",
    "x-max-length": "max_length",
    "x-queue-type": "type",
}


def check(root: Block, newer: settings.Names) -> Iterator[Problem]:
    """Find everything that contradicts itself or refers to nothing."""
    yield from _empty_sections(root)
    yield from _broker(root)
    yield from _names(root)
    if declared := Declared.of(root):
        yield from _pools(root, declared)
        yield from _routes(root, declared)
        yield from _default_queue(root, declared)
        yield from _schedule(root, declared)
        yield from _exchanges(root)
    yield from _arguments(root)
    yield from settings.problems(root, newer)


class Declared:
    """The queues there are, and where they are declared."""

    def __init__(self, queues: Block, mark: Mark) -> None:
        self.queues = queues.entries
        self._mark = mark

    @classmethod
    def of(cls, root: Block) -> Declared | None:
        """Return what is declared; None if nothing is, or not in a way that can be read."""
        node = child(root, "queues")
        if not isinstance(node, Block) or not node.entries:
            return None
        return cls(node, root.entries["queues"].mark)

    def unknown(self, what: str, node: Node | None) -> Iterator[Problem]:
        """Say that a scalar names a queue that there is not, if so."""
        name = text(node)
        if node is None or name is None or name in self.queues or not name.strip():
            return
        place = "" if node.mark.file == self._mark.file else f"{self._mark.file}, "
        where = f"Queues are declared at {place}line {self._mark.line}."
        guess = did_you_mean(name, self.queues)
        hint = f"{guess} {where}" if guess else where
        yield Problem(f"{what} the unknown queue {quoted(name)}.", str(node.mark), hint, codes.UNKNOWN_QUEUE)


def _empty_sections(root: Block) -> Iterator[Problem]:
    """A fleet without pools, written `pools: {}` or not at all, serves producers; one without queues serves nobody."""
    for section, hint in (("queues", _EXAMPLE), ("pools", "Describe one, such as pools: {web: {queues: [default]}}")):
        entry = root.entries.get(section)
        if entry is None and section == "queues":
            yield Problem("fleet.yaml declares no queues.", str(root.mark), hint)
        elif entry is not None and (is_null(entry.node) or (section == "queues" and _is_empty(entry.node))):
            yield Problem(f"{section} is empty.", str(entry.mark), hint)


def _is_empty(node: Node) -> bool:
    return isinstance(node, Block) and not node.entries


# --- The broker -------------------------------------------------------------------------------------------


def _broker(root: Block) -> Iterator[Problem]:
    """A transport that is named by itself goes before the URL's own."""
    celery = child(root, "celery")
    own = celery.entries.get("broker_url") if isinstance(celery, Block) else None
    if own is not None and not (text(own.node) or "").strip() and isinstance(own.node, Scalar) and not own.node.failed:
        what, hint = emptied(own.node) or ("is empty.", "Remove it, or write broker: at the top.")
        yield Problem(f"{subject(('celery', 'broker_url'))} {what}", str(own.node.mark), hint)
    if child(celery, "broker_transport") is not None:
        return
    for path in (("broker",), ("broker", "url"), ("celery", "broker_url")):
        node = at(root, path)
        url = text(node)
        what, hint = names.broker_problem(url) if url else ("", "")
        if what and node is not None:
            yield Problem(f"{subject(path)} {what}.", str(node.mark), hint)


# --- Names ------------------------------------------------------------------------------------------------


def _names(root: Block) -> Iterator[Problem]:
    for name, entry in entries(child(root, "queues")):
        yield from _name(("queues", name), names.queue_problem(name), entry)
    pools = dict(entries(child(root, "pools")))
    for name, entry in pools.items():
        yield from _name(("pools", name), names.pool_problem(name), entry)
        yield from _worker_of(name, entry, pools)
        for variable, value in entries(child(entry.node, "env")):
            yield from _name(("pools", name, "env", variable), names.variable_problem(variable), value)
    for section in ("tasks", "canvases"):
        for name, entry in entries(child(root, section)):
            yield from _name((section, name), "" if name.strip() else "must have a name", entry)


def _name(path: tuple[str | int, ...], problem: str, entry: Entry) -> Iterator[Problem]:
    if problem:
        yield Problem(f"{subject(path)}: the name {problem}.", str(entry.mark))


def _worker_of(name: str, entry: Entry, pools: Mapping[str, Entry]) -> Iterator[Problem]:
    match = re.fullmatch(r"(.+)-[0-9]+", name)
    if match and match[1] in pools:
        what = f"pool {quoted(name)} is named as a worker of pool {quoted(match[1])} is."
        yield Problem(what, str(entry.mark), "Give one of the two pools another name.")


# --- References -------------------------------------------------------------------------------------------


def _pools(root: Block, declared: Declared) -> Iterator[Problem]:
    for name, entry in entries(child(root, "pools")):
        queues = child(entry.node, "queues")
        if not isinstance(queues, Listing):
            continue
        if not queues.items:
            yield Problem(f"pool {quoted(name)} reads no queue.", str(queues.mark), "Write queues: [default]")
        seen: set[str] = set()
        for item in queues.items:
            yield from declared.unknown(f"pool {quoted(name)} reads", item)
            queue = text(item)
            if queue in seen:
                what = f"pool {quoted(name)} reads the queue {quoted(queue)} twice."
                yield Problem(what, str(item.mark), "Name it once.")
            seen.update((queue,) if queue else ())


def _routes(root: Block, declared: Declared) -> Iterator[Problem]:
    exchanges = {_exchange(name, entry.node)[0] for name, entry in declared.queues.items()}
    routes = child(root, "routes")
    for number, route in enumerate(routes.items if isinstance(routes, Listing) else (), 1):
        queue, exchange = child(route, "queue"), child(route, "exchange")
        yield from declared.unknown(f"route {number} sends to", queue)
        yield from _priority(number, child(route, "priority"), text(queue), declared)
        name = text(exchange)
        if exchange is not None and name and name not in exchanges:
            what = f"route {number} sends to the exchange {quoted(name)}, which no queue declares."
            example = f"Give a queue exchange: {{name: {name}, type: topic}}"
            hint = did_you_mean(name, exchanges) or example
            yield Problem(what, str(exchange.mark), hint, codes.UNKNOWN_EXCHANGE)


def _priority(number: int, node: Node | None, queue: str | None, declared: Declared) -> Iterator[Problem]:
    found = plain(node) if isinstance(node, Scalar) else None
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= 255 or node is None:
        return
    entry = declared.queues.get(queue or "")
    most = plain(at(entry.node, ("max_priority",)) or node) if entry else _TOP_PRIORITY
    if entry is not None and child(entry.node, "max_priority") is None:
        most = _TOP_PRIORITY
    top = max(_TOP_PRIORITY, most) if isinstance(most, int) else 255
    if found > top:
        what = f"priority of route {number} must be a whole number from 0 to {top}, but it is {found}."
        yield Problem(what, str(node.mark), f"{top} runs first.")


def _default_queue(root: Block, declared: Declared) -> Iterator[Problem]:
    yield from declared.unknown("default_queue is", child(root, "default_queue"))


def _schedule(root: Block, declared: Declared) -> Iterator[Problem]:
    for name, entry in entries(child(child(root, "beat"), "schedule")):
        queue = child(child(entry.node, "options"), "queue")
        yield from declared.unknown(f"schedule {quoted(name)} sends to", queue)


# --- Contradictions ---------------------------------------------------------------------------------------


def _exchange(queue: str, node: Node) -> tuple[str, str]:
    """Return the name and type of the exchange that a queue is bound to."""
    written = child(node, "exchange")
    if isinstance(written, Block):
        return text(child(written, "name")) or queue, text(child(written, "type")) or "direct"
    return text(written) or queue, "direct"


def _exchanges(root: Block) -> Iterator[Problem]:
    first: dict[str, tuple[str, str]] = {}
    for queue, entry in entries(child(root, "queues")):
        name, kind = _exchange(queue, entry.node)
        other, known = first.setdefault(name, (queue, kind))
        if known != kind:
            what = (
                f"queue {quoted(queue)} makes the exchange {quoted(name)} {kind}, "
                f"but queue {quoted(other)} makes it {known}."
            )
            place = child(entry.node, "exchange") or entry
            yield Problem(what, str(place.mark), "An exchange has one type.")


def _arguments(root: Block) -> Iterator[Problem]:
    for queue, entry in entries(child(root, "queues")):
        arguments = child(entry.node, "arguments")
        for argument, value in entries(arguments):
            key = _ARGUMENTS.get(argument)
            if key and child(entry.node, key) is not None:
                what = f"queue {quoted(queue)} has both {key} and the argument {argument}."
                yield Problem(what, str(value.mark), "Keep one of them.")

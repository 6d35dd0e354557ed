"""What must agree across a fleet: names, and what refers to them; works on the tree, so half a fleet is enough."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from celeryfleet.errors import Problem
from celeryfleet.fleetfile import alerts, names, settings
from celeryfleet.fleetfile.cursor import Cursor
from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.fleetfile.tree import MappingNode, ScalarNode, SequenceNode, plain, quoted, truth
from celeryfleet.text import listed

_TOP_PRIORITY = 9
#: arguments that have a key of their own in a queue
_ARGUMENTS: Mapping[str, str] = {
    "x-max-priority": "max_priority",
    "x-max-length": "max_length",
    "x-queue-type": "type",
}


def check(root: Cursor, newer: settings.Names) -> Iterator[Problem]:
    """Find everything that contradicts itself or refers to nothing."""
    yield from _empty_sections(root)
    yield from _broker(root)
    if any(root["queues"]):
        yield from _references(root)
        yield from _exchanges(root["queues"])
    yield from _apps(root)
    yield from _pools(root["pools"])
    yield from _hosts(root)
    yield from _arguments(root["queues"])
    yield from alerts.problems(root)
    yield from settings.problems(root, newer)


def _empty_sections(root: Cursor) -> Iterator[Problem]:
    """A fleet without pools, written `pools: {}` or not at all, serves producers; one without queues serves nobody."""
    queues, pools = root["queues"], root["pools"]
    example = "Declare one, such as queues: {default: {}}"
    if "queues" not in root:
        yield Problem("fleet.yaml declares no queues.", str(root.key), example)
    elif not queues.written or queues.node == MappingNode({}, queues.node.mark):
        yield Problem("queues is empty.", str(queues.key), example)
    if "pools" in root and not pools.written:
        yield Problem("pools is empty.", str(pools.key), "Describe one, such as pools: {web: {queues: [default]}}")


def _broker(root: Cursor) -> Iterator[Problem]:
    """A transport that is named by itself goes before the URL's own."""
    celery = root["celery"]
    url = celery["broker_url"]
    if "broker_url" in celery and isinstance(url.node, ScalarNode) and not url.node.text.strip():
        refused = url.refuse("is empty", "Remove it, or write broker: at the top.")
        yield from (refused.problem,) if refused.problem else ()
    if celery["broker_transport"].written:
        return
    for url in (root["broker"], root["broker"]["url"], celery["broker_url"]):
        what, hint = names.broker_problem(url.text or "")
        if what:
            yield Problem(f"{url.subject} {what}.", str(url.node.mark), hint)


def _apps(root: Cursor) -> Iterator[Problem]:
    """Where there are several apps, each pool says which one it runs, and beat whose schedule it is."""
    apps, known = root["apps"], [app.name for app in root["apps"]]
    for key in ("app", "django") if "apps" in root else ():
        if key in root:
            yield Problem(f"{key} cannot stand beside apps.", str(root[key].key), "Write it as one of apps.")
    if "apps" in root and not known and (not apps.written or isinstance(apps.node, MappingNode)):
        yield Problem("apps is empty.", str(apps.key), "Name one, such as apps: {web: shop.celery}")
    beat = [root["beat"]] if "beat" in root and truth(root["beat"].text) is not False else []
    for part in (*root["pools"], *beat):
        app = part["app"].text
        if app and app not in known:
            hint = did_you_mean(app, known) or (f"The apps are {listed(known)}." if known else "Name it in apps.")
            yield Problem(f"{part.subject} is of the unknown app {quoted(app)}.", str(part["app"].node.mark), hint)
        elif not app and len(known) > 1:
            yield Problem(
                f"{part.subject} does not say of which app it is.", str(part.key), f"Write app: {listed(known, 'or')}"
            )


# --- References -------------------------------------------------------------------------------------------


def _references(root: Cursor) -> Iterator[Problem]:
    queues = root["queues"]
    for pool in root["pools"]:
        for queue in pool["queues"].items():
            yield from _unknown_queue(f"{pool.subject} reads", queue, queues)
    exchanges = {_exchange(queue)[0] for queue in queues}
    for route in root["routes"].items():
        yield from _unknown_queue(f"{route.subject} sends to", route["queue"], queues)
        yield from _priority(route, queues)
        name = route["exchange"].text
        if name and name not in exchanges:
            what = f"{route.subject} sends to the exchange {quoted(name)}, which no queue declares."
            hint = did_you_mean(name, exchanges) or f"Give a queue exchange: {{name: {name}, type: topic}}"
            yield Problem(what, str(route["exchange"].node.mark), hint, "CF006")
    yield from _unknown_queue("default_queue is", root["default_queue"], queues)
    for alert in root["alerts"].items():
        yield from _unknown_queue(f"{alert.subject} is about", alert["queue"], queues)
    for entry in root["beat"]["schedule"]:
        yield from _unknown_queue(f"{entry.subject} sends to", entry["options"]["queue"], queues)


def _unknown_queue(what: str, named: Cursor, queues: Cursor) -> Iterator[Problem]:
    name = named.text or ""
    if not name.strip() or name in queues:
        return
    place = "" if named.node.mark.file == queues.key.file else f"{queues.key.file}, "
    where = f"Queues are declared at {place}line {queues.key.line}."
    guess = did_you_mean(name, [queue.name for queue in queues])
    hint = f"{guess} {where}" if guess else where
    yield Problem(f"{what} the unknown queue {quoted(name)}.", str(named.node.mark), hint, "CF001")


def _priority(route: Cursor, queues: Cursor) -> Iterator[Problem]:
    """A queue's own max_priority lets a route go higher than 9, which is the highest elsewhere."""
    found = plain(route["priority"].node)
    most = plain(queues[route["queue"].text or ""]["max_priority"].node) or _TOP_PRIORITY
    if not isinstance(found, int) or isinstance(found, bool) or not isinstance(most, int):
        return
    top = max(_TOP_PRIORITY, most)
    if top < found <= 255:
        what = f"priority of {route.subject} must be a whole number from 0 to {top}, but it is {found}."
        yield Problem(what, str(route["priority"].node.mark), f"{top} runs first.")


# --- Contradictions ---------------------------------------------------------------------------------------


def _pools(pools: Cursor) -> Iterator[Problem]:
    known = {pool.name for pool in pools}
    for pool in pools:
        match = re.fullmatch(r"(.+)-[0-9]+", pool.name)
        if match and match[1] in known:
            what = f"{pool.subject} is named as a worker of pool {quoted(match[1])} is."
            yield Problem(what, str(pool.key), "Give one of the two pools another name.")
        queues = pool["queues"]
        if isinstance(queues.node, SequenceNode) and not queues.node.items:
            yield Problem(f"{pool.subject} reads no queue.", str(queues.node.mark), "Write queues: [default]")
        seen: set[str] = set()
        for queue in queues.items():
            if queue.text and queue.text in seen:
                what = f"{pool.subject} reads the queue {quoted(queue.text)} twice."
                yield Problem(what, str(queue.node.mark), "Name it once.")
            seen.add(queue.text or "")


def _hosts(root: Cursor) -> Iterator[Problem]:
    """A host runs pools that there are, and has numbers for those alone."""
    known = [*(pool.name for pool in root["pools"]), *(["beat"] if "beat" in root else [])]
    for host in root["hosts"]:
        pools = host if isinstance(host.node, SequenceNode) else host["pools"]
        names = [pool.text or "" for pool in pools.items()]
        for pool in pools.items():
            if pool.text and pool.text not in known:
                hint = did_you_mean(pool.text, known) or f"The pools are {listed(known)}."
                what = f"{host.subject} runs the unknown pool {quoted(pool.text)}."
                yield Problem(what, str(pool.node.mark), hint, "CF084")
            elif names.count(pool.text or "") > 1 and names.index(pool.text or "") != pool.path[-1]:
                what = f"{host.subject} names the pool {quoted(pool.text or '')} twice."
                yield Problem(what, str(pool.node.mark), "Name it once; `replicas` says how many workers it has.")
        for pool in host["replicas"]:
            if pool.name not in names or pool.name == "beat":
                hint = did_you_mean(pool.name, names) or "Name it in its pools, too."
                what = f"{host.subject} has replicas of {quoted(pool.name)}, which is none of its pools."
                if pool.name == "beat":
                    what, hint = f"{host.subject} has replicas of beat.", "Beat is one."
                yield Problem(what, str(pool.key), hint, "CF084")


def _exchange(queue: Cursor) -> tuple[str, str]:
    """Return the name and type of the exchange that a queue is bound to."""
    exchange = queue["exchange"]
    return exchange["name"].text or exchange.text or queue.name, exchange["type"].text or "direct"


def _exchanges(queues: Cursor) -> Iterator[Problem]:
    first: dict[str, tuple[str, str]] = {}
    for queue in queues:
        name, kind = _exchange(queue)
        other, known = first.setdefault(name, (queue.name, kind))
        if known != kind:
            what = (
                f"{queue.subject} makes the exchange {quoted(name)} {kind}, but queue {quoted(other)} makes it {known}."
            )
            place = queue["exchange"].node.mark if queue["exchange"].written else queue.key
            yield Problem(what, str(place), "An exchange has one type.")


def _arguments(queues: Cursor) -> Iterator[Problem]:
    for queue in queues:
        for argument in queue["arguments"]:
            key = _ARGUMENTS.get(argument.name)
            if key and queue[key].written:
                what = f"{queue.subject} has both {key} and the argument {argument.name}."
                yield Problem(what, str(argument.key), "Keep one of them.")

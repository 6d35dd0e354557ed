"""Fleet and Plan → Topology. Where a task goes is asked of `routing`, never decided here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from celeryfleet.render.graph.topology import (
    ANYWHERE,
    NOWHERE,
    UNWANTED,
    DeadLetters,
    Edge,
    EdgeKind,
    ExchangeNode,
    PoolNode,
    QueueNode,
    Source,
    SourceKind,
    Topology,
)
from celeryfleet.routing.resolve import resolve
from celeryfleet.routing.routes import asks_code, by_route, namespaced
from celeryfleet.routing.table import headers_text

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Entry, Fleet, Pool, Route
    from celeryfleet.plan.values import Plan
    from celeryfleet.routing.queue import Queue
    from celeryfleet.routing.table import Destination, Item

#: exchanges that look at a message's key
_BY_KEY = ("direct", "topic")
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def survey(fleet: Fleet, plan: Plan) -> Topology:
    """Gather what a drawing of the fleet shows; pools of profiles that the plan leaves out are in it, inactive."""
    shown = _shown_exchanges(fleet, plan)
    sources: list[Source] = []
    edges: list[Edge] = []
    for source, found in _sources(fleet, plan, shown):
        sources.append(source)
        edges += found
    edges += [
        Edge(f"exchange:{queue.exchange}", f"queue:{queue.name}", EdgeKind.BINDS, _key(queue.exchange_type, queue))
        for queue in plan.queues
        if queue.exchange in shown
    ]
    pools = tuple(_pool(name, pool, plan) for name, pool in fleet.pools.items())
    edges += [edge for pool in pools for edge in _reads(pool)]
    queues = tuple(_queue(queue, fleet, plan, pools) for queue in plan.queues)
    exchanges = {name: ExchangeNode(f"exchange:{name}", name, kind) for name, kind in shown.items()}
    for node in queues:
        for edge in _dead_letter_edges(node, shown):
            edges.append(edge)
            _, _, name = edge.target.partition(":")
            if edge.target.startswith("exchange:"):
                exchanges.setdefault(name, ExchangeNode(edge.target, name, ""))
    return Topology(fleet.name, tuple(sources), tuple(exchanges.values()), queues, pools, tuple(edges))


def _shown_exchanges(fleet: Fleet, plan: Plan) -> dict[str, str]:
    """Return the types of the exchanges that are drawn: those that the user has given to queues.

    A direct one of the queue's own name says nothing, unless dead letters get lost in it.
    """
    letters = [found for queue in plan.queues if (found := _dead_letters(queue, plan))]
    losing = {found.exchange for found in letters if found.honoured and not found.queues}
    named = {name: queue.exchange for name, queue in fleet.queues.items()}
    return {
        queue.exchange: queue.exchange_type
        for queue in plan.queues
        if queue.exchange in losing
        or (named[queue.name] and (queue.exchange_type != "direct" or queue.exchange != queue.name))
    }


# --- Sources ----------------------------------------------------------------------------------------------


def _sources(fleet: Fleet, plan: Plan, shown: Mapping[str, str]) -> Iterator[tuple[Source, list[Edge]]]:
    groups, rest = by_route(fleet, plan.routing.routes)
    for number, (route, items) in enumerate(zip(fleet.routes, groups, strict=True), 1):
        where = fleet.where("routes", number - 1)
        if route.router is None:
            yield _route(route, f"route:{number}", where, items[0], plan, shown)
        else:
            yield _router(route, f"route:{number}", where, plan)
    if not any(_takes_all(route) for route in fleet.routes):
        target = plan.routing.follow_route(rest[0]["options"] if rest else {})
        source = Source("default", SourceKind.DEFAULT, "any other task", queues=target.queues)
        yield source, list(_sends("default", target, shown))
    if fleet.beat:
        for name, entry in fleet.beat.schedule.items():
            yield _beat(name, entry, fleet, plan, shown)


def _takes_all(route: Route) -> bool:
    return route.regex == ".*" or (route.task is not None and set(route.task) == {"*"})


def _route(
    route: Route, name: str, where: str, item: Item, plan: Plan, shown: Mapping[str, str]
) -> tuple[Source, list[Edge]]:
    target = plan.routing.follow_route(item["options"], item.get("exact"))
    source = Source(
        name,
        SourceKind.ROUTE,
        route.task or f"/{route.regex}/",
        route.line,
        where,
        route.priority,
        queues=target.queues,
        note="" if target.queues else _nowhere(target, plan),
        lost=not target.queues,
    )
    return source, list(_sends(name, target, shown))


def _router(route: Route, name: str, where: str, plan: Plan) -> tuple[Source, list[Edge]]:
    """A router decides when a task is sent; of the built-in one it is known that it goes by the queue's name."""
    path = route.router or ""
    if asks_code(route):
        return Source(name, SourceKind.ROUTER, path, route.line, where, route.priority, note=ANYWHERE), []
    queues = namespaced(queue.name for queue in plan.queues)
    edges = [Edge(name, f"queue:{queue}", EdgeKind.MAY_SEND, f"{queue}:*") for queue in queues]
    return Source(name, SourceKind.ROUTER, path, route.line, where, route.priority, queues=queues), edges


def _beat(name: str, entry: Entry, fleet: Fleet, plan: Plan, shown: Mapping[str, str]) -> tuple[Source, list[Edge]]:
    decision = resolve(fleet, plan.routing, entry.task, entry.args, entry.kwargs, _addressed(entry))
    note = "" if decision.queues else _nowhere(decision, plan)
    source = Source(
        f"beat:{name}",
        SourceKind.BEAT,
        name,
        where=fleet.where("beat", "schedule", name),
        task=entry.task,
        schedule=entry.crontab or f"every {spell(entry.every or 0)}",
        queues=decision.queues,
        note=note,
        lost=bool(note),
    )
    return source, list(_sends(source.id, decision, shown, EdgeKind.SENDS if decision.sure else EdgeKind.MAY_SEND))


def _addressed(entry: Entry) -> dict[str, Any]:
    """Return the options of a beat entry that decide where it goes."""
    deciding = ("queue", "exchange", "routing_key", "headers")
    return {key: entry.options[key] for key in deciding if key in entry.options}


def _nowhere(target: Destination, plan: Plan) -> str:
    """Say why a message reaches no queue, and what becomes of it."""
    fate = "sending fails" if plan.routing.gives_back else "lost"
    return f"{fate}: {UNWANTED if target.exchange_type == 'headers' else NOWHERE}"


def _sends(
    source: str, target: Destination, shown: Mapping[str, str], kind: EdgeKind = EdgeKind.SENDS
) -> Iterator[Edge]:
    """Draw a line to the exchange, if it is shown, else to each queue."""
    if target.exchange in shown:
        key = target.routing_key if target.exchange_type in _BY_KEY else headers_text(target.headers)
        yield Edge(source, f"exchange:{target.exchange}", kind, key, lost=not target.queues)
    else:
        yield from (Edge(source, f"queue:{queue}", kind) for queue in target.queues)


def spell(seconds: float) -> str:
    """Write a length of time as fleet.yaml does: 90s as 1m30s."""
    whole, text = int(seconds), ""
    for unit, size in _UNITS:
        if whole >= size:
            text += f"{whole // size}{unit}"
            whole %= size
    rest = round((seconds - int(seconds)) * 1000)
    return (f"{text}{rest}ms" if rest else text) or "0s"


# --- Queues and pools -------------------------------------------------------------------------------------


def _key(kind: str, queue: Queue) -> str:
    if kind == "headers":
        return headers_text(queue.headers)
    return queue.routing_key if kind in _BY_KEY else ""


def _queue(queue: Queue, fleet: Fleet, plan: Plan, pools: tuple[PoolNode, ...]) -> QueueNode:
    readers = [pool for pool in pools if queue.name in pool.queues]
    return QueueNode(
        id=f"queue:{queue.name}",
        name=queue.name,
        default=queue.name == plan.settings["task_default_queue"],
        exchange=queue.exchange,
        exchange_type=queue.exchange_type,
        routing_key=queue.routing_key,
        headers=queue.headers,
        pools=tuple(pool.name for pool in readers if pool.active),
        idle_pools=tuple(pool.name for pool in readers if not pool.active),
        type=str(queue.arguments.get("x-queue-type", "")),
        max_priority=queue.arguments.get("x-max-priority"),
        max_length=queue.arguments.get("x-max-length"),
        max_age=queue.max_age,
        dead_letters=_dead_letters(queue, plan),
    )


def _dead_letters(queue: Queue, plan: Plan) -> DeadLetters | None:
    found = plan.routing.dead_letters(queue)
    if found is None:
        return None
    honoured = plan.broker.kind == "amqp"
    return DeadLetters(found.exchange, found.routing_key, found.queues, found.declared, honoured)


def _dead_letter_edges(queue: QueueNode, shown: Mapping[str, str]) -> Iterator[Edge]:
    letters = queue.dead_letters
    if letters is None or not letters.honoured:
        return
    if letters.exchange in shown or (letters.exchange and not letters.queues):
        target = f"exchange:{letters.exchange}"
        lost = letters.exchange in shown and not letters.queues
        yield Edge(queue.id, target, EdgeKind.DEAD_LETTERS, letters.routing_key, lost=lost)
    else:
        yield from (Edge(queue.id, f"queue:{name}", EdgeKind.DEAD_LETTERS) for name in letters.queues)


def _pool(name: str, pool: Pool, plan: Plan) -> PoolNode:
    planned = plan.pool(name)
    queues = tuple(dict.fromkeys(pool.queues))
    return PoolNode(
        id=f"pool:{name}",
        name=name,
        kind=pool.pool,
        concurrency=planned.concurrency if planned else pool.concurrency,
        replicas=planned.replicas if planned else pool.replicas,
        autoscale=(pool.autoscale.min, pool.autoscale.max) if pool.autoscale else None,
        queues=queues,
        order=pool.order,
        ranked=pool.order == "strict" and len(queues) > 1 and plan.broker.kind == "redis",
        profiles=tuple(pool.profiles),
        active=planned is not None,
    )


def _reads(pool: PoolNode) -> Iterator[Edge]:
    for number, queue in enumerate(pool.queues, 1):
        label = str(number) if pool.ranked else ""
        yield Edge(f"queue:{queue}", pool.id, EdgeKind.READS, label, pool.active)

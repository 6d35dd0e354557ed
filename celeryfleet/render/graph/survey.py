"""Fleet and Plan → Topology, and what a running fleet says of it. Where a task goes is asked of `routing`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from celeryfleet.render.graph.topology import (
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
from celeryfleet.text import duration

if TYPE_CHECKING:
    from celeryfleet.fleetfile.beat import Entry
    from celeryfleet.fleetfile.model import Fleet, Pool, Route
    from celeryfleet.plan.values import Plan
    from celeryfleet.protocol import Status
    from celeryfleet.routing.queue import Queue
    from celeryfleet.routing.table import Destination, Item

#: exchanges that look at a message's key
_BY_KEY = ("direct", "topic")
#: options of a beat entry that decide where it goes
_DECIDING = ("queue", "exchange", "routing_key", "headers")


def survey(fleet: Fleet, plan: Plan) -> Topology:
    """Gather what a drawing of the fleet shows; pools of profiles that the plan leaves out are in it, inactive."""
    return _Survey(fleet, plan).topology()


def with_numbers(topology: Topology, status: Status) -> Topology:
    """Add how the fleet, its queues and its pools are."""
    told = ("ready", "unacked", "oldest_age_s", "consumers")
    queues = {queue.name: {key: getattr(queue, key) for key in told} for queue in status.queues}
    pools: dict[str, dict[str, Any]] = {pool.name: {"want": pool.want, "ready": pool.ready} for pool in status.pools}
    return replace(
        topology,
        state=status.state,
        queues=tuple(replace(q, **queues.get(q.name, {}), paused=q.name in status.paused) for q in topology.queues),
        pools=tuple(replace(pool, **pools.get(pool.name, {})) for pool in topology.pools),
    )


class _Survey:
    """One walk through a fleet and its plan; the edges gather on the way."""

    def __init__(self, fleet: Fleet, plan: Plan) -> None:
        self._fleet = fleet
        self._plan = plan
        self._edges: list[Edge] = []
        self._letters = {queue.name: plan.routing.dead_letters(queue) for queue in plan.queues}
        #: the broker knows x-dead-letter-exchange
        self._honours = plan.broker.transport == "amqp"
        self._shown = self._shown_exchanges()

    def topology(self) -> Topology:
        """Return all of it."""
        sources = tuple(self._sources())
        for queue in self._plan.queues:
            if queue.exchange in self._shown:
                key = headers_text(queue.headers) if queue.exchange_type == "headers" else queue.routing_key
                label = "" if queue.exchange_type == "fanout" else key
                self._edges.append(Edge(f"exchange:{queue.exchange}", f"queue:{queue.name}", EdgeKind.BINDS, label))
        pools = tuple(self._pool(name, pool) for name, pool in self._fleet.pools.items())
        queues = tuple(self._queue(queue, pools) for queue in self._plan.queues)
        exchanges = {name: ExchangeNode(f"exchange:{name}", name, kind) for name, kind in self._shown.items()}
        for node in queues:
            for edge in self._dead_letter_edges(node):
                self._edges.append(edge)
                kind, _, name = edge.target.partition(":")
                if kind == "exchange":
                    exchanges.setdefault(name, ExchangeNode(edge.target, name, None))
        return Topology(self._fleet.name, sources, tuple(exchanges.values()), queues, pools, tuple(self._edges))

    def _shown_exchanges(self) -> dict[str, str]:
        """Return the types of the exchanges that are drawn: those that the user has given to queues.

        A direct one of the queue's own name says nothing, unless dead letters get lost in it.
        """
        letters = self._letters.values() if self._honours else ()
        losing = {found.exchange for found in letters if found and not found.queues}
        named = {name: queue.exchange for name, queue in self._fleet.queues.items()}
        return {
            queue.exchange: queue.exchange_type
            for queue in self._plan.queues
            if queue.exchange in losing
            or (named[queue.name] and (queue.exchange_type != "direct" or queue.exchange != queue.name))
        }

    # --- Sources --------------------------------------------------------------------------------------

    def _sources(self) -> Iterator[Source]:
        groups, rest = by_route(self._fleet, self._plan.routing.routes)
        for number, (route, items) in enumerate(zip(self._fleet.routes, groups, strict=True), 1):
            yield self._route(number, route, items)
        if not any(_takes_all(route) for route in self._fleet.routes):
            target = self._plan.routing.follow_route(rest[0]["options"] if rest else {})
            self._send("default", target)
            yield Source("default", SourceKind.DEFAULT, "any other task", queues=target.queues)
        if self._fleet.beat:
            for name, entry in self._fleet.beat.schedule.items():
                yield self._beat(name, entry)

    def _route(self, number: int, route: Route, items: Sequence[Item]) -> Source:
        """A router decides when a task is sent; of the built-in one it is known that it goes by the queue's name."""
        name = f"route:{number}"
        where = self._fleet.where("routes", number - 1)
        kind = SourceKind.ROUTER if route.router else SourceKind.ROUTE
        text = route.router or route.task or f"/{route.regex}/"
        source = Source(name, kind, text, route.line or None, where, route.priority)
        if not route.router:
            target = self._plan.routing.follow_route(items[0]["options"], items[0].get("exact"))
            self._send(name, target)
            return replace(source, **self._fate(target))
        if asks_code(route):
            return replace(source, note="decides when a task is sent")
        queues = namespaced(queue.name for queue in self._plan.queues)
        self._edges += [Edge(name, f"queue:{queue}", EdgeKind.MAY_SEND, f"{queue}:*") for queue in queues]
        return replace(source, queues=queues)

    def _beat(self, name: str, entry: Entry) -> Source:
        options = {key: entry.options[key] for key in _DECIDING if key in entry.options}
        decision = resolve(self._fleet, self._plan.routing, entry.task, entry.args, entry.kwargs, options)
        self._send(f"beat:{name}", decision, EdgeKind.SENDS if decision.sure else EdgeKind.MAY_SEND)
        return Source(
            f"beat:{name}",
            SourceKind.BEAT,
            name,
            where=self._fleet.where("beat", "schedule", name),
            task=entry.task,
            schedule=entry.crontab or f"every {duration(entry.every or 0)}",
            **self._fate(decision),
        )

    def _fate(self, target: Destination) -> dict[str, Any]:
        """Say where it goes; of a message that reaches no queue, what becomes of it, and why."""
        if target.queues:
            return {"queues": target.queues}
        fate = "sending fails" if self._plan.routing.gives_back else "lost"
        why = "wants those headers" if target.exchange_type == "headers" else "is bound to that key"
        return {"lost": True, "note": f"{fate}: no queue {why}"}

    def _send(self, source: str, target: Destination, kind: EdgeKind = EdgeKind.SENDS) -> None:
        """Draw a line to the exchange, if it is shown, else to each queue."""
        if target.exchange in self._shown:
            key = target.routing_key if target.exchange_type in _BY_KEY else headers_text(target.headers)
            self._edges.append(Edge(source, f"exchange:{target.exchange}", kind, key, lost=not target.queues))
        else:
            self._edges += [Edge(source, f"queue:{queue}", kind) for queue in target.queues]

    # --- Queues and pools -----------------------------------------------------------------------------

    def _queue(self, queue: Queue, pools: Sequence[PoolNode]) -> QueueNode:
        readers = [pool for pool in pools if queue.name in pool.queues]
        return QueueNode(
            id=f"queue:{queue.name}",
            name=queue.name,
            default=queue.name == self._plan.settings["task_default_queue"],
            exchange=queue.exchange,
            exchange_type=queue.exchange_type,
            routing_key=queue.routing_key,
            headers=dict(queue.headers),
            type=queue.arguments.get("x-queue-type"),
            max_priority=queue.arguments.get("x-max-priority"),
            max_length=queue.arguments.get("x-max-length"),
            max_age_s=queue.max_age,
            dead_letters=self._letters[queue.name],
            honoured=self._honours,
            pools=tuple(pool.name for pool in readers if pool.active),
            idle_pools=tuple(pool.name for pool in readers if not pool.active),
        )

    def _dead_letter_edges(self, queue: QueueNode) -> Iterator[Edge]:
        letters = queue.dead_letters
        if letters is None or not queue.honoured:
            return
        known = letters.exchange in self._shown
        if known or (letters.exchange and not letters.queues):
            target, lost = f"exchange:{letters.exchange}", known and not letters.queues
            yield Edge(queue.id, target, EdgeKind.DEAD_LETTERS, letters.routing_key, lost=lost)
        else:
            yield from (Edge(queue.id, f"queue:{name}", EdgeKind.DEAD_LETTERS) for name in letters.queues)

    def _pool(self, name: str, pool: Pool) -> PoolNode:
        planned = self._plan.pool(name)
        queues = tuple(dict.fromkeys(pool.queues))
        ranked = pool.order == "strict" and len(queues) > 1 and self._plan.broker.transport == "redis"
        for number, queue in enumerate(queues, 1):
            label = str(number) if ranked else ""
            self._edges.append(Edge(f"queue:{queue}", f"pool:{name}", EdgeKind.READS, label, planned is not None))
        return PoolNode(
            id=f"pool:{name}",
            name=name,
            queues=queues,
            order=pool.order,
            ranked=ranked,
            pool=planned.implementation if planned else pool.pool or "prefork",
            replicas=planned.replicas if planned else pool.replicas,
            concurrency=planned.concurrency if planned else pool.concurrency or 1,
            autoscale=(pool.autoscale.min, pool.autoscale.max) if pool.autoscale else None,
            profiles=tuple(pool.profiles),
            active=planned is not None,
        )


def _takes_all(route: Route) -> bool:
    return route.regex == ".*" or (route.task is not None and set(route.task) == {"*"})

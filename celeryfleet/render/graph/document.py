"""Topology → the document that `graph --json` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeryfleet.render.graph.live import Live
    from celeryfleet.render.graph.topology import Edge, PoolNode, QueueNode, Source, Topology


def document(topology: Topology, live: Live | None = None) -> dict[str, Any]:
    """Return it, schema version 1; what a running fleet tells is null where none was asked."""
    return {
        "schema_version": 1,
        "fleet": topology.fleet,
        "state": live.state if live else None,
        "sources": [_source(node) for node in topology.sources],
        "exchanges": [{"id": node.id, "name": node.name, "type": node.type or None} for node in topology.exchanges],
        "queues": [_queue(node, live) for node in topology.queues],
        "pools": [_pool(node, live) for node in topology.pools],
        "edges": [_edge(edge) for edge in topology.edges],
    }


def _source(node: Source) -> dict[str, Any]:
    return {
        "id": node.id,
        "kind": str(node.kind),
        "text": node.text,
        "line": node.line or None,
        "where": node.where or None,
        "priority": node.priority,
        "task": node.task or None,
        "schedule": node.schedule or None,
        "queues": list(node.queues),
        "lost": node.lost,
    }


def _queue(node: QueueNode, live: Live | None) -> dict[str, Any]:
    now = live.queues.get(node.name) if live else None
    letters = node.dead_letters
    return {
        "id": node.id,
        "name": node.name,
        "default": node.default,
        "exchange": node.exchange,
        "exchange_type": node.exchange_type,
        "routing_key": node.routing_key,
        "headers": dict(node.headers),
        "type": node.type or None,
        "max_priority": node.max_priority,
        "max_length": node.max_length,
        "max_age_s": node.max_age,
        "dead_letters": {"exchange": letters.exchange, "queues": list(letters.queues)} if letters else None,
        "pools": list(node.pools),
        "ready": now.ready if now else None,
        "unacked": now.unacked if now else None,
        "oldest_age_s": now.oldest_age if now else None,
        "consumers": now.consumers if now else None,
    }


def _pool(node: PoolNode, live: Live | None) -> dict[str, Any]:
    now = live.pools.get(node.name) if live else None
    return {
        "id": node.id,
        "name": node.name,
        "queues": list(node.queues),
        "order": node.order,
        "pool": node.kind,
        "replicas": node.replicas,
        "concurrency": node.concurrency,
        "autoscale": {"min": node.autoscale[0], "max": node.autoscale[1]} if node.autoscale else None,
        "profiles": list(node.profiles),
        "active": node.active,
        "want": now.want if now else None,
        "ready": now.ready if now else None,
    }


def _edge(edge: Edge) -> dict[str, Any]:
    return {
        "from": edge.source,
        "to": edge.target,
        "kind": str(edge.kind),
        "label": edge.label,
        "active": edge.active,
        "lost": edge.lost,
    }

"""The words on the nodes of a drawing, the same in every format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from celeryfleet.render.graph.live import Mood
from celeryfleet.render.graph.measure import printable
from celeryfleet.render.graph.survey import spell
from celeryfleet.render.graph.topology import SourceKind

if TYPE_CHECKING:
    from celeryfleet.render.graph.live import Live, PoolLive, QueueLive
    from celeryfleet.render.graph.topology import DeadLetters, ExchangeNode, PoolNode, QueueNode, Source, Topology


class Words(NamedTuple):
    """Some words, and how what they say is."""

    text: str
    mood: Mood = Mood.PLAIN


def summary(topology: Topology, live: Live | None) -> str:
    """Say in one line what there is, and how much of it runs."""
    return f"{topology.fleet}{f' ({live.state})' if live else ''}: {', '.join(_parts(topology, live))}"


def _parts(topology: Topology, live: Live | None) -> Iterator[str]:
    yield many(sum(source.kind in (SourceKind.ROUTE, SourceKind.ROUTER) for source in topology.sources), "route")
    yield many(len(topology.queues), "queue")
    if live is None:
        yield f"{many(len(topology.pools), 'pool')} with {many(topology.workers, 'worker')}"
        return
    yield many(len(topology.pools), "pool")
    ready, want = (sum(getattr(pool, key) for pool in live.pools.values()) for key in ("ready", "want"))
    yield f"{ready} of {many(want, 'worker')} ready"


def many(number: int, thing: str) -> str:
    """Count things: 1 queue, 2 queues."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def source(node: Source) -> str:
    """Write what sends, without what it is."""
    return printable(node.text)


def line(node: Source) -> list[Words]:
    """Say where a source is written; the first route that matches wins."""
    return [Words(f"line {node.line}")] if node.line else []


def source_details(node: Source) -> list[Words]:
    """Write what is to be said of a source beside its text."""
    found = []
    if node.kind is SourceKind.BEAT:
        found += [Words(printable(node.task)), Words(printable(node.schedule))]
    if node.priority is not None:
        found.append(Words(f"priority {node.priority}"))
    if node.note:
        found.append(Words(node.note, Mood.BAD if node.lost else Mood.PLAIN))
    return found


def exchange_kind(node: ExchangeNode) -> Words:
    """Write the type of an exchange."""
    return Words(f"{node.type} exchange") if node.type else Words("exchange, not declared here", Mood.LATE)


def queue_details(node: QueueNode, live: Live | None = None) -> list[Words]:
    """Write what is to be said of a queue beside its name: first how it is, then how it was declared."""
    now = live.queues.get(node.name) if live else None
    found = _now(now, "no pool reads it" if node.unread else "no consumer") if now else []
    if now is None and node.unread:
        found.append(Words("no pool reads it", Mood.BAD))
    elif now is None and not node.pools:
        found.append(Words("unread without its profile", Mood.LATE))
    if node.type:
        found.append(Words(node.type))
    if node.max_priority is not None:
        found.append(Words(f"max_priority {node.max_priority}"))
    if node.max_length is not None:
        found.append(Words(f"max_length {node.max_length:,}"))
    if node.max_age is not None:
        found.append(Words(f"max_age {spell(node.max_age)}"))
    if node.dead_letters:
        found.append(_dead_letters(node.dead_letters))
    return found


def _dead_letters(letters: DeadLetters) -> Words:
    name = printable(letters.exchange)
    if not letters.honoured:
        return Words("dead letters: on RabbitMQ only", Mood.LATE)
    if letters.queues:
        return Words(f"dead letters → {printable(', '.join(letters.queues))}")
    if not letters.declared:
        return Words(f"dead letters → {name}, not declared here", Mood.LATE)
    return Words(f"dead letters: lost in {name}" if name else "dead letters: lost", Mood.BAD)


def _now(queue: QueueLive, idle: str) -> list[Words]:
    found = []
    if queue.ready is not None:
        found.append(Words(f"{queue.ready:,} ready"))
    if queue.unacked:
        found.append(Words(f"{queue.unacked:,} unacked"))
    if queue.oldest_age is not None:
        found.append(Words(f"oldest {age(queue.oldest_age)}", Mood.LATE if queue.late else Mood.PLAIN))
    if queue.paused:
        found.append(Words("paused", Mood.LATE))
    elif not queue.consumers:
        found.append(Words(idle, Mood.BAD))
    else:
        found.append(Words(many(queue.consumers, "consumer")))
    return found


def age(seconds: float) -> str:
    """Write an age in two units at most: 1m41s, 2h5m, 3d7h."""
    return spell(
        seconds // 3600 * 3600 if seconds >= 86_400 else seconds // 60 * 60 if seconds >= 3600 else int(seconds)
    )


def pool_size(node: PoolNode, live: Live | None = None) -> str:
    """Write replicas × concurrency and the kind of a pool; of a running one, the replicas wanted now."""
    now = pool_live(node, live)
    replicas = f"{node.autoscale[0]}–{node.autoscale[1]}" if node.autoscale else str(now.want if now else node.replicas)
    return f"{replicas} × {node.concurrency} {node.kind}"


def pool_details(node: PoolNode, live: Live | None = None) -> list[Words]:
    """Write what is to be said of a pool beside its name and size."""
    found = []
    now = pool_live(node, live)
    if now:
        found.append(Words(f"{now.ready}/{now.want} ready", now.mood))
    if node.order == "round_robin" and len(node.queues) > 1:
        found.append(Words("in turn"))
    if not node.active:
        found.append(Words(f"with --profile {' or '.join(node.profiles)}"))
    return found


def pool_live(node: PoolNode, live: Live | None) -> PoolLive | None:
    """Return how a pool is, if it is known."""
    return live.pools.get(node.name) if live and node.active else None


def queue_mood(node: QueueNode, live: Live | None) -> Mood:
    """Return how a queue is: red where nobody reads it."""
    if live and node.name in live.queues:
        return live.queues[node.name].mood
    if node.unread:
        return Mood.BAD
    return Mood.PLAIN if node.pools else Mood.LATE


def pool_mood(node: PoolNode, live: Live | None) -> Mood:
    """Return how a pool is."""
    now = pool_live(node, live)
    return now.mood if now else Mood.PLAIN

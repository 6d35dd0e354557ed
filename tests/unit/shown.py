"""Fleets as `status` shows them, for tests of what is made of that."""

from __future__ import annotations

from typing import Any

from celeryfleet.protocol import Backlog, BrokerStatus, PoolStatus, QueueStatus, Status, SupervisorStatus, WorkerStatus

SECRET = "redis://:s3cret@host:6379/0"


def worker(name: str, state: str = "ready", **changes: Any) -> WorkerStatus:
    """Make a worker that has done something."""
    base = WorkerStatus(name, f"{name}@shop.host", 2, state, uptime_s=3.0, processed=12, rss_bytes=52428800)
    return base.but(**changes)


def pool(name: str, want: int, *workers: WorkerStatus, **changes: Any) -> PoolStatus:
    """Make a pool of these workers."""
    ready = sum(worker.state == "ready" for worker in workers)
    reason = f"{name}: {ready} of {want} ready" if ready < want else ""
    return PoolStatus(name, ("mail", "default"), want, ready, workers, "prefork", 4, reason).but(**changes)


def reply(*pools: PoolStatus, state: str = "ready", **changes: Any) -> Status:
    """Make what a supervisor replies."""
    return Status(
        fleet="shop",
        state=state,
        supervisor=SupervisorStatus(1, 3.2),
        broker=BrokerStatus("redis://:***@host:6379/0"),
        pools=pools,
        queues=(QueueStatus("mail", consumers=2, max_age=30.0),),
        reason="; ".join(pool.reason for pool in pools if pool.reason),
        notes=(),
        paused=(),
        backlog=Backlog(SECRET),
    ).but(**changes)


def queue(name: str, **changes: Any) -> QueueStatus:
    """Make a queue that nobody reads."""
    return QueueStatus(name, unacked=0).but(**changes)

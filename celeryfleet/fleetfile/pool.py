"""A pool of identical workers, as the user declared it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import model_validator

from celeryfleet.fleetfile.fields import (
    Arguments,
    Duration,
    Flag,
    ListSection,
    MappingSection,
    Model,
    Positive,
    Size,
    Span,
    Variable,
    Words,
    choice,
    refuse,
    whole,
)

#: replicas of one pool; more is a slip of the pen that would take the machine down
MOST_REPLICAS = 1000

_Replicas = Annotated[int, whole(0, MOST_REPLICAS)]


class Restart(Model):
    """When a worker that died comes back."""

    #: seconds before the second restart; the first is immediate
    backoff: Duration = 1.0
    #: seconds
    max_backoff: Duration = 60.0
    #: deaths within `window` that make a worker failed
    max_restarts: Annotated[int, whole(0, 1_000_000)] = 5
    #: seconds
    window: Span = 300.0

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.backoff > self.max_backoff:
            raise refuse("must not be longer than max_backoff", at="backoff")
        return self


class Autoscale(Model):
    """How many replicas a pool may have, and what makes it grow."""

    min: _Replicas = 1
    max: Annotated[int, whole(1, MOST_REPLICAS)]
    #: queued messages per replica to aim for
    target_length: Positive | None = None
    #: seconds the oldest message may wait
    target_age: Span | None = None
    #: seconds between two changes
    cooldown: Duration = 60.0

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min > self.max:
            raise refuse(f"is {self.min}, which is more than max, {self.max}", at="min")
        return self


class Healthcheck(Model):
    """When a worker that lives counts as stuck."""

    #: seconds without a sign of life
    heartbeat_within: Span = 30.0
    #: seconds without consuming, though it should
    consuming_within: Span = 60.0


class Pool(Model):
    """N identical workers."""

    queues: Words
    #: in which the queues are read: strictly in their order, or in turn
    order: Annotated[Literal["strict", "round_robin"], choice("strict", "round_robin")] = "strict"
    replicas: _Replicas = 1
    #: tasks at once in one worker; auto: the processors this process may use
    concurrency: Annotated[int | Literal["auto"], whole(1, 100_000, "auto")] = 1
    pool: Annotated[
        Literal["prefork", "threads", "gevent", "eventlet", "solo"],
        choice("prefork", "threads", "gevent", "eventlet", "solo"),
    ] = "prefork"
    #: messages taken ahead for each task at once; None: Celery's default, 0: no limit
    prefetch_multiplier: Annotated[int, whole(0, 1_000_000)] | None = None
    max_tasks_per_child: Positive | None = None
    #: bytes
    max_memory_per_child: Size | None = None
    #: seconds
    time_limit: Span | None = None
    #: seconds
    soft_time_limit: Span | None = None
    #: seconds from the warm stop to the cold one
    stop_grace_period: Duration = 60.0
    restart: Restart = Restart()
    autoscale: Autoscale | None = None
    healthcheck: Healthcheck = Healthcheck()
    env: Annotated[dict[str, Variable], MappingSection] = {}
    #: Celery settings of these workers alone
    celery: Arguments = {}
    #: it runs only if one of them is asked for; none: always
    profiles: Annotated[Words, ListSection] = ()
    #: task events and heartbeats, for Flower and its like
    events: Flag = False

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        hard, soft, scale = self.time_limit, self.soft_time_limit, self.autoscale
        if hard is not None and soft is not None and soft >= hard:
            raise refuse("must be less than time_limit, or no task would see it", at="soft_time_limit")
        if scale and "replicas" in self.model_fields_set and not scale.min <= self.replicas <= scale.max:
            raise refuse(f"is {self.replicas}, but autoscale keeps it from {scale.min} to {scale.max}", at="replicas")
        return self

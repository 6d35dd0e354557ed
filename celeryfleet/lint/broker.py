"""Rules about the broker: when it delivers twice, and lists that writers and readers disagree on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from celeryfleet.lint.values import Case, Found, Level, rule
from celeryfleet.plan.broker import SEP
from celeryfleet.text import duration, listed, quoted

if TYPE_CHECKING:
    from celeryfleet.plan.values import PoolPlan

#: seconds, RabbitMQ's default since 3.8.17
CONSUMER_TIMEOUT = 1800.0


# --- Delivered twice --------------------------------------------------------------------------------------


@rule("CF041", "consumer-timeout", "A task longer than RabbitMQ waits for its acknowledgement", Level.INFO)
def consumer_timeout(case: Case) -> Iterator[Found]:
    """Find what a RabbitMQ with its default configuration takes back after half an hour."""
    if not case.on_rabbitmq:
        return
    hint = "Raise consumer_timeout in rabbitmq.conf, or give the queue the argument x-consumer-timeout."
    patient = {queue.name for queue in case.plan.queues if "x-consumer-timeout" in queue.arguments}
    for pool in case.plan.pools:
        limit = _limit(case, pool)
        if limit > CONSUMER_TIMEOUT and not patient.issuperset(pool.queues):
            whose = "it runs" if case.setting(pool, "task_acks_late") else "a task taken ahead waits for it"
            yield Found(
                case.fleet.where("pools", pool.name),
                f"a task may run {duration(limit)}, but RabbitMQ by default closes the channel of a worker that has "
                f"not acknowledged for {duration(CONSUMER_TIMEOUT)}, and delivers again: {whose} that long.",
                hint,
            )
    for where, what, delay in _delays(case):
        if delay > CONSUMER_TIMEOUT:
            yield Found(
                where,
                f"{what} waits {duration(delay)} in a worker, but RabbitMQ by default closes the channel of one that "
                f"has not acknowledged for {duration(CONSUMER_TIMEOUT)}, and delivers again.",
                hint,
            )


def _limit(case: Case, pool: PoolPlan) -> float:
    """Return a pool's time limit; 0: none that it enforces."""
    return float(case.setting(pool, "task_time_limit") or 0) if pool.implementation not in ("threads", "solo") else 0.0


def _delays(case: Case) -> Iterator[tuple[str, str, float]]:
    """Go through the delays that are known before anything is sent: (where, whose, seconds)."""
    for name, entry in case.fleet.beat.schedule.items() if case.fleet.beat else ():
        countdown = entry.options.get("countdown")
        if isinstance(countdown, int | float):
            yield case.fleet.where("beat", "schedule", name, "options", "countdown"), f'the task of "{name}"', countdown
    retries: dict[float, list[str]] = {}
    for task, conduct in case.runs.items():
        delay = conduct.get("default_retry_delay")
        if isinstance(delay, int | float):
            retries.setdefault(delay, []).append(task)
    for delay, tasks in retries.items():
        yield case.fleet.where("broker"), f"a retry of {quoted(tasks)}", delay


# --- Lists on Redis ---------------------------------------------------------------------------------------


@rule("CF042", "lists-differ", "Writers and readers that disagree on Redis's lists", Level.WARNING)
def differing_lists(case: Case) -> Iterator[Found]:
    """Find pools that do not look where messages are put: other priority steps, separator or key prefix."""
    if not case.on_redis:
        return
    key = "broker_transport_options"
    app = case.own_settings.get(key) or {}  # the fleet's are laid over these
    read = {pool.name: _lists({**app, **(case.setting(pool, key) or {})}) for pool in case.plan.pools}
    writers = {"the fleet": _lists({**app, **case.plan.settings.get(key, {})})}
    if app and case.app is not None and not case.app.installs:
        writers["the app on its own"] = _lists(app)
    writers |= {f'the pool "{name}"': lists for name, lists in read.items()}
    for name, lists in read.items():
        deaf = [writer for writer, written in writers.items() if not written <= lists]
        if deaf:
            yield Found(
                case.where(("pools", name, "celery", key), ("celery", key)),
                f'the pool "{name}" never looks into some of the lists that {deaf[0]} puts messages in: '
                "priority_steps, sep and global_keyprefix must be the same everywhere.",
                "Set them under `celery:` at the top, for all, or leave them to the fleet.",
            )


def _lists(options: Mapping[str, Any]) -> frozenset[tuple[str, str, int]]:
    """Name a queue's lists, with what stands before and within their names."""
    prefix, sep = options.get("global_keyprefix") or "", options.get("sep") or SEP
    steps = options.get("priority_steps") or (0, 3, 6, 9)
    return frozenset((prefix, sep if step else "", int(step)) for step in steps)


# --- Taking messages --------------------------------------------------------------------------------------


@rule("CF047", "claim-refused", "A Redis that does not let workers claim messages in one step", Level.WARNING)
def popped(case: Case) -> Iterator[Found]:
    """Find servers and users with which workers can but pop messages, as kombu does."""
    if case.server is not None and case.server.lacking:
        yield Found(
            case.fleet.where("broker"),
            f"Redis refuses {listed(case.server.lacking)}, so workers pop messages before they note them: one that is "
            "killed in between loses them. Chords, which Celery counts by a script, may never end.",
            "On Redis 6 or newer, give the user +@scripting, +@connection, +time, the keys watching:* and sleeping:*.",
        )


RULES = (consumer_timeout, differing_lists, popped)

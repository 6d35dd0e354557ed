"""Rules about the user's app: what its own code and settings say, and what the fleet makes of that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celeryfleet.lint.own import apart, is_split
from celeryfleet.lint.values import Case, Found, Level, rule
from celeryfleet.text import counted, listed, quoted

#: the tasks that ship with celeryfleet: nobody else sends them
_DEMO = "celeryfleet.demo"
#: settings of an app that a fleet says itself, always
_FLEETS = (
    "broker_url",
    "broker_use_ssl",
    "result_backend",
    "task_queues",
    "task_routes",
    "task_default_queue",
    "task_default_exchange",
    "task_default_exchange_type",
    "task_default_routing_key",
    "accept_content",
    "task_serializer",
    "result_serializer",
)
#: settings of an app that a fleet's `beat:` may say
_BEATS = ("beat_schedule", "beat_scheduler", "beat_max_loop_interval")


@rule("CF050", "not-installed", "An app whose producers know nothing of the fleet", Level.INFO, "app")
def not_installed(case: Case) -> Iterator[Found]:
    """Find apps that do not call `celeryfleet.install`."""
    paths = [app.path for app in case.plan.apps]
    if case.app is None or case.app.installs or paths[0].startswith(_DEMO) or is_split(case):
        return
    name = paths[0].partition(":")[2] if len(paths) == 1 else ""
    yield Found(
        case.where(("app",)),
        f"{'the app does not call' if len(paths) == 1 else 'not every app calls'} celeryfleet.install: a process that "
        "is not the fleet's, such as a web server, sends its tasks without the queues and routes of this file.",
        f"After the app's own configuration add: import celeryfleet; celeryfleet.install({name or 'app'})",
    )


@rule("CF051", "settings-replaced", "Settings of the app that the fleet replaces", Level.INFO, "app")
def replaced(case: Case) -> Iterator[Found]:
    """Find settings of the app that have no effect."""
    own = case.own_settings
    names = [key for key in _FLEETS if own.get(key) and not _same(own[key], case.plan.settings.get(key))]
    names = [key for key in names if key not in apart(case)]
    names += [key for key in _BEATS if own.get(key) and case.plan.beat and case.plan.beat.conf.get(key)]
    if names:
        verb, those = ("is", "that") if len(names) == 1 else ("are", "those")
        yield Found(
            case.where(("app",)),
            f"{listed(names)} of the app {verb} not used: the fleet says {those} itself.",
            "Write here what is to hold, and remove it there."
            + (" The fleet runs on a broker of its own." if "broker_url" in names and case.plan.broker.argv else ""),
        )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple | set | frozenset) and isinstance(other, list | tuple):
        return sorted(map(str, one)) == sorted(map(str, other))
    return bool(one == other)


@rule("CF052", "priority-on-the-wire", "A priority in code, which Redis turns round", Level.INFO, "app")
def wire_priorities(case: Case) -> Iterator[Found]:
    """Find priorities that do not pass through fleet.yaml: on Redis 0 runs first."""
    if not case.on_redis:
        return
    hint = "Write `priority:` in a route instead: there 9 runs first on every broker."
    default = case.shared("task_default_priority")
    if default is not None:
        yield Found(
            case.where(("celery", "task_default_priority"), ("app",)),
            f"task_default_priority: {default} goes to Redis as it is, where 0 runs first and 9 last.",
            hint,
        )
        return
    named = [task for task, own in case.tasks.items() if own.get("priority") is not None]
    if named:
        yield Found(
            case.where(("app",)),
            f"the priority in the code of {quoted(named)} goes to Redis as it is, where 0 runs first and 9 last.",
            hint,
        )


@rule("CF053", "schedule-without-beat", "A schedule that nobody sends", Level.INFO, "app")
def schedule_without_beat(case: Case) -> Iterator[Found]:
    """Find an app's own schedule, or scheduler, in a fleet without beat."""
    if case.plan.beat is not None:
        return
    schedule, scheduler = (case.own_settings.get(key) for key in ("beat_schedule", "beat_scheduler"))
    has = f"a beat_schedule of {counted(len(schedule), 'task')}" if schedule else f"the beat_scheduler {scheduler}"
    if schedule or scheduler:
        yield Found(
            case.where(("app",)),
            f"the app has {has}, but this file has no `beat:`: the fleet sends nothing of its schedule.",
            "Write `beat: true`, unless a `celery beat` runs elsewhere.",
        )


@rule("CF057", "beat-without-schedule", "A beat that has nothing to send", Level.WARNING, "app")
def beat_without_schedule(case: Case) -> Iterator[Found]:
    """Find a beat with Celery's own scheduler where neither fleet.yaml nor the app has a schedule."""
    if case.plan.beat is None or case.plan.beat.schedule or case.plan.beat.scheduler:
        return
    said = {**case.says(case.plan.beat.app), **case.plan.settings}
    if not any(map(said.get, ("beat_schedule", "beat_scheduler"))):
        yield Found(
            case.where(("beat",)),
            "beat has nothing to send: neither this file nor the app has a schedule.",
            "Write `beat: {schedule: …}`, or `scheduler:` if the schedule is kept elsewhere, or remove `beat:`.",
        )


@rule("CF054", "task-unregistered", "A name that no registered task has", Level.WARNING, "app")
def unregistered(case: Case) -> Iterator[Found]:
    """Find tasks of the schedule and of short names that the app does not have."""
    for name, entry in case.fleet.beat.schedule.items() if case.fleet.beat else ():
        if entry.task not in case.tasks and not entry.task.startswith("celery."):
            yield Found(
                case.fleet.where("beat", "schedule", name, "task"),
                f"{entry.task} is no task that the app registers: workers refuse what beat sends (NotRegistered).",
                "Correct the name (`celeryfleet tasks` lists them), or import its module in the app.",
            )
    for alias, short in case.fleet.tasks.items():
        ends = (f".{short.task}", f":{short.task}")
        if short.task not in case.tasks and not any(task.endswith(ends) for task in case.tasks):
            yield Found(
                case.fleet.where("tasks", alias),
                f'"{alias}" stands for {short.task}, which is no task that the app registers: `send {alias}` fails.',
                "Correct the name (`celeryfleet tasks` lists them), or import its module in the app.",
            )


@rule("CF067", "queue-of-several-apps", "A queue that workers of several apps read", Level.WARNING)
def of_several_apps(case: Case) -> Iterator[Found]:
    """Find queues whose messages go to whichever app's worker is free, whether it knows the task or not."""
    for queue in case.fleet.queues:
        readers = {pool.app: pool.name for pool in case.plan.pools if queue in pool.queues}
        if len(readers) > 1:
            *_, last = readers.values()
            yield Found(
                case.where(("pools", last, "queues"), ("pools", last)),
                f'"{queue}" is read by workers of the apps {quoted(readers)}: whichever is free takes a message, and '
                "fails it (NotRegistered) if its own app does not have the task.",
                "Give each app's tasks a queue that its own pools alone read.",
            )


@rule("CF055", "eager", "Tasks that run in their sender", Level.WARNING)
def eager(case: Case) -> Iterator[Found]:
    """Find the setting that is meant for tests."""
    if case.shared("task_always_eager"):
        yield Found(
            case.where(("celery", "task_always_eager"), ("app",)),
            "task_always_eager is on: whoever sends a task runs it on the spot, and no worker ever gets one.",
            "Remove it, but for tests.",
        )


@rule("CF056", "missing-queues-made", "Misspelt queues that are made on the spot", Level.INFO)
def missing_queues_made(case: Case) -> Iterator[Found]:
    """Find the setting by which a misspelt queue is no error."""
    if case.plan.settings.get("task_create_missing_queues"):
        yield Found(
            case.fleet.where("celery", "task_create_missing_queues"),
            "a task for a misspelt queue goes to a new queue of that name, which nobody reads.",
            "Remove task_create_missing_queues: then it is an error in the sender.",
        )


RULES = (
    not_installed,
    replaced,
    wire_priorities,
    schedule_without_beat,
    beat_without_schedule,
    unregistered,
    of_several_apps,
    eager,
    missing_queues_made,
)

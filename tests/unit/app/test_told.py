"""What an app says in the words of fleet.yaml, held against Celery's own router of that app."""

from __future__ import annotations

import re
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue

from celeryfleet.app import apply
from celeryfleet.app.told import asked, writable
from celeryfleet.fleetfile.writing import flow
from celeryfleet.plan.build import build
from tests.unit.plan.fleets import FACTS, fleet_of


class Router:
    """Sends what ends in `late`, and says nothing of the rest."""

    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> dict[str, str] | None:
        return {"queue": "slow"} if task.endswith("late") else None


def hurried(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> str | None:
    return "fast" if name.endswith("now") else None


QUEUES = [Queue("base"), Queue("fast"), Queue("slow", Exchange("events", type="topic"), routing_key="a.#")]
TASKS = ("shop.mail.send", "shop.mail", "shop.x", "shop.x.y", "shop.b.now", "shop.c.late", "other")


def destination(route: dict[str, Any]) -> str:
    """Name the queue of an answer of Celery's router, or else the exchange."""
    queue = route.get("queue")
    return str(queue.name if queue is not None else getattr(route["exchange"], "name", route["exchange"]))


def app_of(**settings: Any) -> Celery:
    app = Celery("shop", broker="redis://h", set_as_current=False)
    app.conf.update(task_default_queue="base", task_queues=QUEUES, **settings)
    return app


@pytest.mark.parametrize(
    "routes",
    [
        {"shop.*": "slow", "shop.x": {"queue": "fast"}},
        ([("shop.mail.*", {"queue": "fast"}), ("shop.*", "slow")],),
        [{"shop.x": "fast"}, {"shop.*": {"queue": "slow", "priority": 3}}],
        {re.compile(r"shop\.(x|mail)"): {"queue": "fast"}},
        [Router(), hurried, {"*": "slow"}],
        [f"{__name__}.Router", f"{__name__}.hurried"],
        {"shop.*": {"exchange": "events", "routing_key": "a.b"}},
        None,
    ],
)
def test_the_routes_of_an_app_route_alike_in_a_fleet(routes: Any) -> None:
    ours, theirs = Celery("fleet", set_as_current=False), app_of(task_routes=routes)
    told = asked(theirs, {})
    assert told.lost == ()
    queues = "".join(f"  {name}: {flow(said)}\n" for name, said in told.queues.items())
    lines = "".join(f"  - {flow(route)}\n" for route in told.routes) or "  []\n"
    text = f"broker: {told.broker}\nqueues:\n{queues}default_queue: {told.default_queue}\nroutes:\n{lines}"
    fleet = fleet_of(f"{text}pools: {{web: {{queues: {flow(list(told.queues))}}}}}\n")
    apply(ours, build(fleet, FACTS).settings)
    for task in TASKS:
        found, wanted = (one.amqp.router.route({}, task, (), {}) for one in (ours, theirs))
        assert destination(found) == destination(wanted), task
        assert (found.get("priority") or 0) == (wanted.get("priority") or 0), task


def test_what_cannot_be_a_line_is_told() -> None:
    class Local(Router):
        pass

    told = asked(
        app_of(task_routes=[Local(), {"a": {"queue": "fast", "expires": 3}}], broker_use_ssl={1: object()}), {}
    )
    assert told.lost == (
        "broker_use_ssl: write it under `celery:`",
        "the router Local of task_routes has no path to import it by",
        "expires of the route of a: a route decides where only",
    )
    assert told.routes == ({"task": "a", "queue": "fast"},)
    wrong = asked(app_of(task_routes=[("shop.*", {"queue": "fast"})]), {})
    assert wrong.lost == ("('shop.*', {'queue': 'fast'}) in task_routes is no route, to Celery neither",)


def test_settings_that_a_fleet_has_its_own_of_are_told_and_celerys_defaults_are_not() -> None:
    assert asked(app_of(task_serializer="json", accept_content=["json"]), {}).celery == {}
    told = asked(app_of(task_serializer="pickle", worker_pool="threads", worker_concurrency=24), {})
    assert (told.celery, told.pool, told.concurrency) == ({"task_serializer": "pickle"}, "threads", 24)
    assert (
        asked(Celery("two", broker=["redis://a", "redis://b"], set_as_current=False), {}).broker
        == "redis://a;redis://b"
    )
    bare = asked(Celery("bare", set_as_current=False), {})
    assert (bare.broker, bare.names_broker) == ("", False)


@pytest.mark.parametrize(
    ("url", "environ", "written"),
    [
        ("redis://h/1", {}, "redis://h/1"),
        ("redis://h/1", {"BUS": "redis://h/1"}, "${BUS:-redis://h/1}"),
        ("redis://:pw@h/1", {"BUS": "redis://:pw@h/1"}, "${BUS}"),
        ("redis://:p%40w@h/1", {"SECRET": "p@w"}, "redis://:${SECRET}@h/1"),
        ("redis://:pw@h/1", {"OTHER": "x"}, ""),
        ("redis://h/1?password=pw", {}, ""),
    ],
)
def test_an_url_is_written_without_its_credential_or_not_at_all(
    url: str, environ: dict[str, str], written: str
) -> None:
    assert writable(url, environ) == written

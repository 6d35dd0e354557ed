"""What is sent, seen on a broker in memory."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, signals
from kombu import Exchange, Queue

from celeryfleet.client.expression import Names, parse
from celeryfleet.client.options import Options
from celeryfleet.client.send import check_arguments, needs_results, send, start
from celeryfleet.client.signatures import Step, leaves
from celeryfleet.errors import FleetError


def add(x: int, y: int = 0) -> int:
    return x + y


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("unit", broker="memory://", backend="cache+memory://", set_as_current=False) as app:
        app.conf.update(
            task_queues=[Queue(name, Exchange(name), name) for name in ("unit-default", "unit-sums")],
            task_default_queue="unit-default",
            task_routes=([("shop.xsum", {"queue": "unit-sums"})],),
            task_create_missing_queues=False,
        )
        for name in ("add", "xsum", "lost"):
            app.task(name=f"shop.{name}", shared=False, ignore_result=name == "lost")(add)
        yield app


@pytest.fixture
def messages() -> Iterator[list[dict[str, Any]]]:
    """Give the messages that are published, as Celery's signal tells of them."""
    found: list[dict[str, Any]] = []

    def on_publish(**message: Any) -> None:
        found.append(message)

    signals.before_task_publish.connect(on_publish)
    yield found
    signals.before_task_publish.disconnect(on_publish)


def read(text: str, app: Celery) -> Step:
    return parse(text, Names(["shop.add", "shop.xsum", "shop.lost"], queues=("unit-default", "unit-sums")), app).step


def test_each_task_has_its_id_before_it_is_sent_and_the_canvas_stays_as_it_is(app: Celery, messages: Any) -> None:
    step = read("group(add.s(1, 1), add.s(2, 2))", app)
    first, second = start(app, step), start(app, step)
    assert [message["headers"]["id"] for message in messages] == [
        *(leaf.id for leaf in leaves(first.step)),
        *(leaf.id for leaf in leaves(second.step)),
    ]
    assert len({message["headers"]["id"] for message in messages}) == 4
    assert all(leaf.options == {} for leaf in leaves(step))


@pytest.mark.parametrize("text", ["xsum.s(1)", "xsum.map([1])", "group(xsum.map([1]))", "xsum.chunks([[1], [2]], 1)"])
def test_all_that_runs_a_task_goes_where_its_route_says(app: Celery, messages: Any, text: str) -> None:
    sent = start(app, read(text, app))
    assert sent.queue == "unit-sums"
    assert {message["routing_key"] for message in messages} == {"unit-sums"}


def test_a_priority_is_turned_into_the_broker_s_once_also_that_of_a_callback(app: Celery, messages: Any) -> None:
    step = read("add.s(1, 1).set(priority=9).link(add.s(1).set(priority=8)) | add.s(1).set(priority=7)", app)
    start(app, step, wire_priority=lambda own: 9 - own)
    (message,) = messages
    assert message["properties"]["priority"] == 0
    embed = message["body"][2]
    assert [found["options"]["priority"] for found in (*embed["callbacks"], *embed["chain"])] == [1, 2]
    assert all(found["options"]["task_id"] for found in (*embed["callbacks"], *embed["chain"]))


def test_a_broker_without_priorities_gets_none(app: Celery, messages: Any) -> None:
    send(app, "shop.add", [1], options=Options(priority=9), wire_priority=lambda own: None)
    assert messages[0]["properties"].get("priority") is None


@pytest.mark.parametrize(("keep", "ignored"), [(True, False), (False, True)])
def test_a_result_is_kept_where_it_is_waited_for(app: Celery, messages: Any, keep: bool, ignored: bool) -> None:
    send(app, "shop.lost", [1], keep=keep)
    assert messages[0]["headers"]["ignore_result"] is ignored


def test_a_task_is_only_sent_by_a_name_and_to_a_queue_that_there_are(app: Celery, messages: Any) -> None:
    with pytest.raises(FleetError, match=r"shop\.nix is not registered\. --force sends it anyway\."):
        send(app, "shop.nix")
    with pytest.raises(FleetError, match=r'queue "unit-sum" is unknown\. Did you mean "unit-sums"'):
        send(app, "shop.add", [1], options=Options(queue="unit-sum"))
    assert messages == []
    assert send(app, "shop.nix", options=Options(queue="unit-sums"), force=True).queue == "unit-sums"


def test_a_countdown_and_a_moment_exclude_each_other() -> None:
    with pytest.raises(FleetError, match="--countdown and --eta exclude each other"):
        Options(countdown=1, eta=datetime.datetime(2030, 1, 1))


def test_arguments_that_a_task_cannot_take_are_told_with_how_it_is_called(app: Celery) -> None:
    with pytest.raises(FleetError, match=r"shop\.add cannot take these arguments: .*It is called as add\(x, y=0\)\."):
        check_arguments(app.tasks["shop.add"], [], {})
    with pytest.raises(FleetError, match="and the result before it comes first"):
        start(app, read("add.s(1, 1) | add.s(1, 2)", app))


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("add.s(1)", False),
        ("add.s(1) | group(add.s(1), add.s(2))", False),
        ("group(add.s(1)) | add.s()", True),
        ("group(chord([add.s(1)], add.s()))", True),
    ],
)
def test_only_chords_need_a_result_backend(app: Celery, text: str, needed: bool) -> None:
    assert needs_results(read(text, app)) is needed

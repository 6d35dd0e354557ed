"""Messages that a dead worker had taken, on a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from celeryfleet.app import apply
from celeryfleet.worker.redis_restore import KEY_OPTIONS, bring_back
from tests.fakes import forget_pools
from tests.servers import redis_server
from tests.services.worker.children import settings_of

DEAD = "mail-1@shop.host"


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    with redis_server() as path:
        yield path


@pytest.fixture(params=["", "fleet-a:"], ids=["plain", "prefixed"])
def app(server: Path, request: pytest.FixtureRequest) -> Iterator[Celery]:
    settings = settings_of(server, "web", "mail")
    settings["broker_transport_options"]["global_keyprefix"] = request.param
    for name in ("mail", "web"):  # one topic, two queues
        settings["task_queues"].append(
            {"name": f"news-{name}", "exchange": "news", "exchange_type": "topic", "routing_key": "#", "arguments": {}}
        )
    made = Celery("app", set_as_current=False)
    apply(made, settings)
    with made.connection_for_write() as connection:
        connection.default_channel.client.flushall()
    yield made
    forget_pools(made)


def take(app: Celery, queue: str, count: int) -> list[str]:
    """Take messages as a worker of the dead node would, and die; return their delivery tags."""
    options = app.conf.broker_transport_options | {key: f"{key.removesuffix('_key')}:{DEAD}" for key in KEY_OPTIONS}
    with app.connection_for_write(transport_options=options) as connection:
        channel = connection.default_channel
        tags = [channel.basic_get(queue).delivery_tag for _ in range(count)]
        channel.qos._delivered.clear()  # what closing would bring back: SIGKILL does not
        channel.qos._dirty.clear()
        return tags


def waiting(app: Celery, queue: str) -> list[Any]:
    """Take all messages of a queue in the order in which a worker would; return their first arguments."""
    with app.connection_for_write() as connection:
        bound = app.amqp.queues[queue].bind(connection.default_channel)
        found = []
        while (message := bound.get(no_ack=True)) is not None:
            found.append(message.decode()[0][0])
        return found


def test_what_was_taken_is_back_in_front_in_its_old_order(app: Celery) -> None:
    for number in range(4):
        app.send_task("x", (number,), queue="mail")
    take(app, "mail", 2)
    assert bring_back(app, [DEAD]) == [DEAD]
    assert waiting(app, "mail") == [0, 1, 2, 3]


def test_what_still_runs_is_left_alone(app: Celery) -> None:
    for number in range(2):
        app.send_task("x", (number,), queue="mail")
    running, _ = take(app, "mail", 2)
    bring_back(app, [DEAD], {running})
    assert waiting(app, "mail") == [1]
    bring_back(app, [DEAD])
    assert waiting(app, "mail") == [0]


def test_nothing_comes_back_twice(app: Celery) -> None:
    app.send_task("x", (1,), queue="mail")
    take(app, "mail", 1)
    bring_back(app, [DEAD])
    bring_back(app, [DEAD])
    assert waiting(app, "mail") == [1]


def test_a_message_keeps_its_priority(app: Celery) -> None:
    app.send_task("x", ("low",), queue="mail", priority=9)
    take(app, "mail", 1)
    app.send_task("x", ("high",), queue="mail", priority=0)
    bring_back(app, [DEAD])
    assert waiting(app, "mail") == ["high", "low"]


def test_a_message_of_a_topic_goes_back_only_to_the_queue_it_was_taken_from(app: Celery) -> None:
    app.amqp.queues.select(["news-mail"])
    publish_news(app)
    take(app, "news-mail", 1)
    options = app.conf.broker_transport_options | {key: f"{key.removesuffix('_key')}:{DEAD}" for key in KEY_OPTIONS}
    with app.connection_for_write(transport_options=options) as own:
        bring_back(app, [DEAD], own=own)
    assert waiting(app, "news-web") == ["tidings"]
    assert waiting(app, "news-mail") == ["tidings"]


def test_a_message_without_a_queue_is_kept(app: Celery) -> None:
    publish_news(app)
    take(app, "news-mail", 1)
    with app.connection_for_write() as connection:
        connection.default_channel.client.delete("_kombu.binding.news")
    bring_back(app, [DEAD])
    with app.connection_for_write() as connection:
        assert connection.default_channel.client.zrange(f"unacked_index:{DEAD}", 0, -1) != []


def publish_news(app: Celery) -> None:
    with app.connection_for_write() as connection:
        for name in ("news-mail", "news-web"):
            app.amqp.queues[name].bind(connection.default_channel).declare()
        with connection.Producer() as producer:
            producer.publish([["tidings"], {}, {}], exchange="news", routing_key="a.b", serializer="json")


@pytest.mark.parametrize("kept", ['[no JSON, "", "mail"]', '[[], "", "mail"]', '[{"properties": 1}, "", "mail"]', "1"])
def test_what_is_no_message_is_kept_and_keeps_back_nothing_else(app: Celery, kept: str) -> None:
    for number in range(2):
        app.send_task("x", (number,), queue="mail")
    broken, _ = take(app, "mail", 2)
    with app.connection_for_write() as connection:
        client = connection.default_channel.client
        client.hset(f"unacked:{DEAD}", broken, kept)
        assert bring_back(app, [DEAD]) == [DEAD]
        assert waiting(app, "mail") == [1]
        assert client.hget(f"unacked:{DEAD}", broken) == kept.encode()


def test_without_a_broker_it_gives_up_at_once(tmp_path: Path) -> None:
    app = Celery("app", set_as_current=False)
    apply(app, settings_of(tmp_path / "nothing.sock", "mail"))
    assert bring_back(app, [DEAD]) == []

"""What celeryfleet.client.bulk.seam leans on: these fail when Celery or kombu change it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery, signals
from kombu import Connection
from kombu.serialization import register, registry
from kombu.utils.json import dumps, loads

from celeryfleet.client.bulk import seam
from celeryfleet.client.bulk.publishers import Recording


class Server:
    """The part of a Redis client that kombu asks for bindings."""

    def __init__(self) -> None:
        self.bindings: set[bytes] = set()
        self.asked = 0

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def smembers(self, key: str) -> set[bytes]:
        """Return the bindings of an exchange."""
        self.asked += 1
        return set(self.bindings)

    def sadd(self, key: str, member: str) -> None:
        """Bind a queue."""
        self.bindings.add(member.encode())

    def pipeline(self, **options: Any) -> Server:
        """Take several commands."""
        return self

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: None


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def channel(server: Server) -> Any:
    """Give a channel of kombu's for Redis that has no connection."""
    from kombu.transport import redis

    class Unconnected(redis.Channel):  # type: ignore[misc]
        client = server

        def conn_or_acquire(self, client: Any = None) -> Any:
            return server

    found = Unconnected(Connection("redis://").transport)
    found._expires = {"brief": 60_000}
    return found


def published(channel: Any, exchange: str, key: str) -> list[seam.Command]:
    message = channel.prepare_message("body", 0, "text/plain", "utf-8", {}, {})
    return seam.redis_commands(channel, message, exchange, key, mandatory=False, immediate=False, timeout=None)


def test_kombu_gives_a_batch_the_commands_for_a_message(channel: Any) -> None:
    ((name, key, text),) = published(channel, "", "mail")
    assert (name, key, json.loads(text)["properties"]["delivery_info"]["routing_key"]) == ("lpush", "mail", "mail")
    commands = published(channel, "", "brief")
    assert [command[:1] + command[2:] for command in commands[1:]] == [("pexpire", 60_000)] * 4


def test_bindings_are_looked_up_once_until_a_queue_is_bound(channel: Any, server: Server) -> None:
    bound: list[int] = []
    seam.keep_bindings(channel, lambda: bound.append(server.asked))
    channel.exchange_declare("orders", "topic")
    channel.queue_bind("new", "orders", "order.new")
    for _ in range(3):
        assert [key for _, key, _ in published(channel, "orders", "order.new")] == ["new"]
    assert server.asked == 1
    channel.queue_bind("all", "orders", "order.#")
    assert sorted(key for _, key, _ in published(channel, "orders", "order.new")) == ["all", "new"]
    assert bound == [0, 1]


def test_no_results_of_recorded_messages_are_subscribed_to() -> None:
    app = Celery("seam", broker="memory://", backend="cache+memory://", set_as_current=False)
    subscribed: list[str] = []
    type(app.backend).on_task_call = lambda self, producer, task_id: subscribed.append(task_id)
    try:
        seam.subscribe_to_none(app, Recording)
        with app.connection_for_write() as connection, app.producer_or_acquire() as theirs:
            app.send_task("seam.any", task_id="recorded", producer=Recording(connection.channel()))
            app.send_task("seam.any", task_id="other", producer=theirs)
    finally:
        del type(app.backend).on_task_call
        app.close()
    assert subscribed == ["other"]


def test_json_is_kombu_s_own_unless_another_is_registered() -> None:
    assert seam.is_kombus_json("json")
    assert not seam.is_kombus_json("pickle")
    assert not seam.is_kombus_json(None)
    register("json", lambda value: dumps(value), loads, "application/json", "utf-8")
    try:
        assert not seam.is_kombus_json("json")
    finally:
        register("json", dumps, loads, "application/json", "utf-8")
    assert registry._encoders["json"].encoder is dumps


def test_the_receivers_of_a_signal_are_those_for_all_and_for_its_sender() -> None:
    def for_all(**_: Any) -> None:
        """Take all."""

    def for_one(**_: Any) -> None:
        """Take those of one task."""

    before = list(seam.receivers(signals.task_sent, "shop.add"))
    signals.task_sent.connect(for_all, weak=False)
    signals.task_sent.connect(for_one, sender="shop.add")
    try:
        assert list(seam.receivers(signals.task_sent, "shop.add")) == [*before, for_all, for_one]
        assert list(seam.receivers(signals.task_sent, "shop.mail")) == [*before, for_all]
    finally:
        signals.task_sent.disconnect(for_all)
        signals.task_sent.disconnect(for_one, sender="shop.add")


def test_a_task_with_pydantic_is_not_one_by_default() -> None:
    app = Celery("seam", set_as_current=False)

    def any_task(number: int) -> None:
        """Do nothing."""

    for name, pydantic in (("seam.plain", False), ("seam.typed", True)):
        app.task(name=name, shared=False, pydantic=pydantic)(any_task)
    assert list(seam.oddities(app.tasks["seam.plain"])) == []
    assert list(seam.oddities(app.tasks["seam.typed"])) == ["seam.typed has its arguments dumped by pydantic"]

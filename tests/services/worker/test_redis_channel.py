"""Messages that real workers claim from a real Redis: of any shape, refused, forgotten, behind limits."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery

from celeryfleet.app import apply
from celeryfleet.plan.broker import socket_url
from celeryfleet.redis_client import Connection, connect
from celeryfleet.worker_protocol import Ready
from tests.fakes import eventually, forget_pools
from tests.servers import redis_server
from tests.services.worker.children import NODE, settings_of, worker

APP = """
import os, pathlib, time
from celery import Celery

app = Celery("shop")
here = pathlib.Path(__file__).parent


def write(text):
    with (here / "trace").open("a") as trace:
        trace.write(f"{text}\\n")


@app.task(ignore_result=True)
def note(text):
    write(len(text) if len(text) > 100 else text)


@app.task(ignore_result=True)
def until(name):
    write(f"start {name}")
    while not (here / name).exists():
        time.sleep(0.01)


@app.task(ignore_result=True, acks_late=True)
def until_late(name):
    until(name)


@app.task(ignore_result=True, acks_late=True)
def consume():
    write("start consume")
    with app.connection_for_read() as connection, connection.SimpleQueue("inbox") as inbox:
        while True:
            try:
                message = inbox.get(timeout=0.1)
            except inbox.Empty:
                continue
            message.ack()
            return write(message.payload)


@app.task(ignore_result=True)
def ask():
    write(sorted(app.control.inspect(timeout=5, limit=1).ping()))
"""
#: two that consume, each by a channel of its own, and never acknowledge
HOLDERS = """
from celery.bootsteps import ConsumerStep
from kombu import Consumer, Queue


class Holder(ConsumerStep):
    def get_consumers(self, channel):
        return [Consumer(channel, [Queue(self.name)], callbacks=[lambda body, _: write(body)])]


for name in ("left", "right"):
    app.steps["consumer"].add(type(name, (Holder,), {"name": name}))
"""
KEPT = f"unacked:{NODE}"
#: bodies at which kombu raises, which ended the worker and all its successors
UNREADABLE = (
    '{"body": "a", "properties": {"body_encoding": "base64"}}',
    '{"body": "YQ==", "properties": {"body_encoding": "nope"}}',
)


class Shop:
    """A folder with the app, and its broker."""

    def __init__(self, folder: Path, server: Path, **more: Any) -> None:
        (folder / "shop.py").write_text(APP)
        self.folder = folder
        self.settings = settings_of(server, "web", "mail", accept_content=["json", "yaml"], **more)
        self.broker: Connection = connect(socket_url(str(server)))
        self.broker.call("FLUSHALL")
        self.app = Celery("producer", set_as_current=False)
        apply(self.app, self.settings)

    def send(self, task: str, *args: Any, **options: Any) -> None:
        self.app.send_task(f"shop.{task}", args, **options)

    def deny(self, words: str) -> None:
        """Have workers be a user who may not do everything."""
        self.broker.call("ACL", "SETUSER", "limited", "reset", "on", ">secret", "~*", "&*", "+@all", *words.split())
        at = urlsplit(self.settings["broker_url"])
        self.settings["broker_url"] = at._replace(netloc="limited:secret@").geturl()

    def trace(self) -> list[str]:
        path = self.folder / "trace"
        return path.read_text().splitlines() if path.exists() else []

    def settled(self) -> bool:
        """Tell whether nothing is unacknowledged."""
        return not self.broker.call("HLEN", self.prefixed(KEPT)) and not self.broker.call(
            "ZCARD", self.prefixed(f"unacked_index:{NODE}")
        )

    def outlast(self, name: str) -> None:
        """Wait until the worker has put back a message of which it does not know.

        It is the last that was taken: when it has been there for too long, all have.
        """
        self.send("note", name, queue="aside")
        message = self.broker.call("RPOP", "aside")
        assert isinstance(message, bytes)
        self.broker.call("HSET", KEPT, name, f'[{message.decode()}, "", "web"]')
        self.broker.call("ZADD", f"unacked_index:{NODE}", str(time()), name)
        eventually(lambda: self.broker.call("HEXISTS", KEPT, name) == 0)

    def oldest(self) -> float:
        """Return the seconds for which something has been unacknowledged."""
        found = self.broker.call("ZRANGE", f"unacked_index:{NODE}", 0, 0, "WITHSCORES")
        return time() - float(found[1]) if isinstance(found, list) and found else 0.0  # type: ignore[arg-type]

    def is_done(self, *texts: str) -> None:
        """Wait until nothing is left to do, and compare what has been done."""
        eventually(lambda: set(self.trace()) >= set(texts) and self.settled() and not self.broker.call("EXISTS", "web"))
        assert sorted(self.trace()) == list(texts)

    def prefixed(self, key: str) -> str:
        return str(self.settings["broker_transport_options"].get("global_keyprefix", "")) + key


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    with redis_server() as path:
        yield path


@pytest.fixture
def shop(server: Path, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path, server)
    yield made
    close(made)


def close(shop: Shop) -> None:
    forget_pools(shop.app)
    shop.broker.call("CONFIG", "SET", "min-replicas-to-write", "0")
    shop.broker.close()


def test_messages_of_any_serializer_and_size_are_done_and_acknowledged(shop: Shop) -> None:
    with worker(shop.folder, shop.settings) as (line, _):
        line.first(Ready)
        for serializer in ("json", "yaml"):
            shop.send("note", f"ä{serializer}", serializer=serializer)
        shop.send("note", "x" * 5_000_000)
        shop.send("note", "zipped", compression="zlib")
        shop.send("note", "header", headers={"delivery_tag": "not this one", "}": '"{'})
        eventually(lambda: len(shop.trace()) == 5)
        assert set(shop.trace()) == {"äjson", "äyaml", "5000000", "zipped", "header"}
        eventually(shop.settled)


def test_a_prefix_of_all_keys_is_minded(server: Path, tmp_path: Path) -> None:
    shop = Shop(tmp_path, server)
    shop.settings["broker_transport_options"]["global_keyprefix"] = "fleet-a:"
    apply(shop.app, shop.settings)
    with worker(shop.folder, shop.settings) as (line, _):
        line.first(Ready)
        shop.send("until_late", "flag")
        eventually(lambda: shop.trace() == ["start flag"])
        assert shop.broker.call("HLEN", f"fleet-a:{KEPT}") == 1
        (shop.folder / "flag").touch()
        eventually(shop.settled)
    keys = shop.broker.call("KEYS", "*")
    assert isinstance(keys, list)
    assert {key[:8] for key in keys if isinstance(key, bytes)} == {b"fleet-a:"}
    close(shop)


def test_copies_with_one_delivery_tag_and_unusual_spellings_are_all_done(shop: Shop) -> None:
    shop.send("note", "copy", queue="mail")
    message = shop.broker.call("RPOP", "mail")
    assert isinstance(message, bytes)
    escaped = message.replace(b'"delivery_tag"', b'"deliver\\u0079_tag"')
    spaced = json.dumps(dict(reversed(json.loads(message).items())), indent=2)
    assert escaped != message
    with worker(shop.folder, shop.settings) as (line, _):
        line.first(Ready)
        shop.broker.call("LPUSH", "mail", message, message, escaped, spaced)
        eventually(lambda: shop.trace() == ["copy"] * 4)
        eventually(shop.settled)


def test_what_is_no_message_is_kept_and_stops_nobody(shop: Shop) -> None:
    with worker(shop.folder, shop.settings) as (line, process):
        line.first(Ready)
        shop.broker.call("LPUSH", "web", "no JSON", "[]", '{"properties": 1}', "{}", *UNREADABLE)
        shop.send("note", "after", queue="web")
        eventually(lambda: shop.trace() == ["after"])
        eventually(lambda: shop.broker.call("HLEN", KEPT) == 4 + len(UNREADABLE))
        assert process.poll() is None
    assert "this is no message" in (shop.folder / "web-1.log").read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"body": b64encode(b"[1, 2, 3, 4]").decode()},
        {"body": b64encode(b"7").decode()},
        {"headers": {"task": ["shop.note"]}},
        {"headers": {"id": None}},
        {"headers": {"timelimit": "x"}},
    ],
    ids=["four parts", "a number", "a list as the task", "no id", "a text as time limits"],
)
def test_what_is_no_task_is_rejected_and_ends_nobody(shop: Shop, change: dict[str, Any]) -> None:
    shop.send("note", "x", queue="mail")
    message = json.loads(shop.broker.call("RPOP", "mail"))  # type: ignore[arg-type]
    headers = {**message["headers"], **change.get("headers", {})}
    change = {**change, "headers": {name: value for name, value in headers.items() if (name, value) != ("id", None)}}
    with worker(shop.folder, shop.settings) as (line, process):
        line.first(Ready)
        shop.broker.call("LPUSH", "web", json.dumps({**message, **change}))
        shop.send("note", "after", queue="web")
        eventually(lambda: shop.trace() == ["after"])
        eventually(shop.settled)
        assert process.poll() is None
    assert "is no task" in (shop.folder / "web-1.log").read_text()


def test_an_early_acknowledgement_is_made_when_the_task_begins_and_a_late_one_when_it_ends(shop: Shop) -> None:
    with worker(shop.folder, shop.settings) as (line, _):
        line.first(Ready)
        shop.send("until", "early")
        eventually(lambda: shop.trace() == ["start early"])
        eventually(shop.settled)
        shop.send("until_late", "late")
        eventually(lambda: shop.trace() == ["start early", "start late"])
        assert shop.broker.call("HLEN", KEPT) == 1
        for name in ("early", "late"):
            (shop.folder / name).touch()
        eventually(shop.settled)


def test_no_more_is_taken_than_the_prefetch_count_leaves_free(server: Path, tmp_path: Path) -> None:
    shop = Shop(tmp_path, server, worker_prefetch_multiplier=2)
    with worker(shop.folder, shop.settings) as (line, _):
        line.first(Ready)
        for number in range(8):
            shop.send("until_late", f"flag{number}", queue=("web", "mail")[number % 2])
        eventually(lambda: len(shop.trace()) == 2)
        assert eventually(lambda: shop.broker.call("HLEN", KEPT) == 4)
        lengths = [shop.broker.call("LLEN", queue) for queue in ("web", "mail")]
        assert lengths == [2, 2], "taken by turns"
        for number in range(8):
            (shop.folder / f"flag{number}").touch()
        eventually(lambda: len(shop.trace()) == 8)
        eventually(shop.settled)
    close(shop)


@pytest.fixture(params=["prefork", "threads"])
def pool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def impatient(shop: Shop) -> Shop:
    """Have what is unacknowledged for 0.3 s handed out again."""
    sweeps = {"visibility_timeout": 0.3, "unacked_restore_interval": 0.1, "unacked_restore_throttle": 1}
    shop.settings["broker_transport_options"] |= sweeps
    return shop


def test_a_task_that_works_for_longer_than_the_visibility_timeout_is_not_done_twice(impatient: Shop, pool: str) -> None:
    with worker(impatient.folder, impatient.settings, pool, concurrency=1) as (line, _):
        line.first(Ready)
        impatient.send("until_late", "flag")
        eventually(lambda: impatient.trace() == ["start flag"])
        impatient.outlast("first")
        impatient.outlast("second")
        (impatient.folder / "flag").touch()
        impatient.is_done("first", "second", "start flag")


def test_what_waits_behind_a_long_task_is_not_done_twice(impatient: Shop, pool: str) -> None:
    with worker(impatient.folder, impatient.settings, pool, concurrency=1) as (line, _):
        line.first(Ready)
        for task, word in (("until", "flag"), ("note", "a"), ("note", "b")):
            impatient.send(task, word)
        eventually(lambda: impatient.broker.call("HLEN", KEPT) == 2)  # the first is acknowledged
        impatient.outlast("first")
        impatient.outlast("second")
        (impatient.folder / "flag").touch()
        impatient.is_done("a", "b", "first", "second", "start flag")


def test_what_is_claimed_while_the_main_process_works_is_not_done_twice(impatient: Shop) -> None:
    impatient.send("until", "flag")
    impatient.send("note", "behind")  # it is claimed with the acknowledgement of the other
    with worker(impatient.folder, impatient.settings, "solo") as (line, _):
        line.first(Ready)
        eventually(lambda: impatient.trace() == ["start flag"])
        eventually(lambda: impatient.oldest() > 1)  # seconds; it has not been read, and the next sweep comes before
        (impatient.folder / "flag").touch()
        impatient.is_done("behind", "start flag")


def test_a_task_that_is_due_after_the_visibility_timeout_is_not_done_twice(impatient: Shop, pool: str) -> None:
    with worker(impatient.folder, impatient.settings, pool, concurrency=1) as (line, _):
        line.first(Ready)
        impatient.send("note", "later", countdown=4)
        eventually(lambda: impatient.broker.call("HLEN", KEPT) == 1)
        impatient.outlast("first")
        impatient.outlast("second")
        impatient.is_done("first", "later", "second")


def test_a_task_that_goes_on_over_a_lost_connection_is_not_done_twice(impatient: Shop, pool: str) -> None:
    with worker(impatient.folder, impatient.settings, pool, concurrency=1) as (line, _):
        line.first(Ready)
        impatient.send("until_late", "flag")
        eventually(lambda: impatient.trace() == ["start flag"])
        impatient.broker.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        impatient.outlast("first")  # the new connection may bring back the first one, before any sweep
        impatient.outlast("second")
        (impatient.folder / "flag").touch()
        impatient.is_done("first", "second", "start flag")


def test_a_task_that_consumes_by_itself_puts_back_nothing_of_its_worker(impatient: Shop) -> None:
    with worker(impatient.folder, impatient.settings, concurrency=1) as (line, _):
        line.first(Ready)
        impatient.send("consume")
        eventually(lambda: impatient.trace() == ["start consume"])
        impatient.outlast("first")
        impatient.outlast("second")
        with impatient.app.connection_for_write() as connection, connection.SimpleQueue("inbox") as inbox:
            inbox.put("consumed")
        impatient.is_done("consumed", "first", "second", "start consume")


def test_what_was_popped_is_not_done_twice(impatient: Shop) -> None:
    impatient.deny("-@scripting")
    with worker(impatient.folder, impatient.settings, concurrency=1) as (line, _):
        line.first(Ready)
        impatient.send("until_late", "flag")
        impatient.send("note", "behind")
        eventually(lambda: impatient.broker.call("HLEN", KEPT) == 2)
        impatient.outlast("first")
        impatient.outlast("second")
        (impatient.folder / "flag").touch()
        impatient.is_done("behind", "first", "second", "start flag")


def test_what_other_channels_of_the_worker_hold_is_left_to_them(impatient: Shop) -> None:
    (impatient.folder / "shop.py").write_text(APP + HOLDERS)
    with worker(impatient.folder, impatient.settings) as (line, _):
        line.first(Ready)
        with impatient.app.connection_for_write() as connection:
            for name in ("left", "right"):
                with connection.SimpleQueue(name) as queue:
                    queue.put(name)
        eventually(lambda: sorted(impatient.trace()) == ["left", "right"])
        impatient.outlast("first")
        impatient.outlast("second")
        eventually(lambda: sorted(impatient.trace()) == ["first", "left", "right", "second"])
        assert impatient.broker.call("EXISTS", "left", "right") == 0
        assert impatient.broker.call("HLEN", KEPT) == 2


def test_a_server_that_forgets_scripts_is_given_ours_again(shop: Shop) -> None:
    with worker(shop.folder, shop.settings) as (line, _):
        line.first(Ready)
        shop.send("note", "one")
        eventually(lambda: shop.trace() == ["one"])
        shop.broker.call("SCRIPT", "FLUSH")
        shop.send("note", "two")
        eventually(lambda: shop.trace() == ["one", "two"])


def test_while_the_server_takes_no_writes_nothing_is_lost_and_then_all_is_done(shop: Shop) -> None:
    with worker(shop.folder, shop.settings) as (line, process):
        line.first(Ready)
        shop.send("until_late", "flag")
        shop.send("note", "first")
        eventually(lambda: sorted(shop.trace()) == ["first", "start flag"])
        shop.send("note", "second", countdown=0.5)
        shop.broker.call("CONFIG", "SET", "min-replicas-to-write", "1")
        (shop.folder / "flag").touch()
        log = shop.folder / "web-1.log"
        eventually(lambda: "NOREPLICAS" in log.read_text())
        assert not shop.settled()
        shop.broker.call("CONFIG", "SET", "min-replicas-to-write", "0")
        eventually(lambda: sorted(shop.trace()) == ["first", "second", "start flag"])
        eventually(shop.settled)
        assert process.poll() is None
        assert log.read_text().count("Redis refuses") <= 2


def test_a_task_that_asks_the_workers_gets_its_answer(shop: Shop) -> None:
    with worker(shop.folder, shop.settings) as (line, _):
        line.first(Ready)
        shop.send("ask")
        eventually(lambda: shop.trace() == [f"['{NODE}']"])
        eventually(shop.settled)


def test_where_a_user_may_not_touch_the_keys_of_claims_messages_are_popped(shop: Shop) -> None:
    shop.deny("resetkeys ~web* ~mail* ~unacked* ~_kombu* ~celery*")
    with worker(shop.folder, shop.settings) as (line, process):
        line.first(Ready)
        shop.send("note", "popped")
        eventually(lambda: shop.trace() == ["popped"])
        eventually(shop.settled)
        assert process.poll() is None
        assert "refuses the claim: NOPERM" in (shop.folder / "web-1.log").read_text()


@pytest.mark.parametrize("denied", ["-client|tracking", "-script|load", "-@scripting"])
def test_where_messages_may_not_be_claimed_they_are_popped_and_the_log_says_so(
    server: Path, tmp_path: Path, denied: str
) -> None:
    shop = Shop(tmp_path, server)
    shop.deny(denied)
    with worker(shop.folder, shop.settings) as (line, _):
        line.first(Ready)
        shop.send("note", "popped")
        eventually(lambda: shop.trace() == ["popped"])
        assert "this worker may lose some when it is killed" in (shop.folder / "web-1.log").read_text()
    close(shop)


def test_a_queue_that_is_added_or_cancelled_is_read_or_not_from_then_on(shop: Shop) -> None:
    with worker(shop.folder, shop.settings) as (line, _):
        line.first(Ready)
        eventually(lambda: shop.app.control.cancel_consumer("mail", reply=True))
        shop.send("note", "mail", queue="mail")
        shop.send("note", "web", queue="web")
        eventually(lambda: shop.trace() == ["web"])
        assert shop.broker.call("LLEN", "mail") == 1
        eventually(lambda: shop.app.control.add_consumer("mail", reply=True))
        eventually(lambda: shop.trace() == ["web", "mail"])


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
def test_other_pools_take_and_acknowledge_alike(shop: Shop, pool: str) -> None:
    if pool == "gevent":
        pytest.importorskip("gevent")
    with worker(shop.folder, shop.settings, pool) as (line, process):
        line.first(Ready)
        for number in range(20):
            shop.send("note", str(number), queue=("web", "mail")[number % 2])
        eventually(lambda: len(shop.trace()) == 20)
        assert sorted(map(int, shop.trace())) == list(range(20))
        eventually(shop.settled)
        process.terminate()
        assert process.wait(60) == 0

"""Messages as the ledger keeps them."""

from __future__ import annotations

import json
import pickle
from typing import Any

from celeryfleet.ledger.message import HIDDEN, MOST, arguments, body_of, follower, kept


class Message:
    """What kombu gives."""

    content_encoding = "utf-8"
    properties = {"reply_to": "r", "priority": 3, "delivery_tag": "t"}
    delivery_info = {"exchange": "", "routing_key": "mail"}

    def __init__(self, args: Any, kwargs: Any, content_type: str = "application/json") -> None:
        body = [args, kwargs, {"chain": None}]
        self.body = json.dumps(body).encode() if content_type == "application/json" else pickle.dumps(body)
        self.content_type = content_type
        self.headers: dict[str, Any] = {"id": "a", "task": "t", "argsrepr": repr(args), "kwargsrepr": repr(kwargs)}


def test_a_message_is_kept_as_it_is() -> None:
    message = Message([1, "ü"], {"to": "x"})
    text = kept(message)
    assert text is not None
    whole = json.loads(text)
    assert body_of(whole) == message.body
    assert whole["properties"] == {"reply_to": "r", "priority": 3}
    assert whole["headers"] == message.headers
    assert arguments(text) == ([1, "ü"], {"to": "x"})


def test_what_is_hidden_is_kept_nowhere() -> None:
    text = kept(Message([{"password": "s3cret"}], {"password": "s3cret", "to": "x"}), ["password"])
    assert text is not None
    assert "s3cret" not in text
    assert json.loads(text)["hidden"]
    assert arguments(text) == ([{"password": HIDDEN}], {"password": HIDDEN, "to": "x"})


def test_a_message_that_has_nothing_to_hide_can_be_sent_again() -> None:
    text = kept(Message([1], {}), ["password"])
    assert text is not None
    assert not json.loads(text)["hidden"]


def test_another_serializer_is_kept_only_where_nothing_is_hidden() -> None:
    message = Message([1], {}, "application/x-python-serialize")
    text = kept(message)
    assert text is not None
    assert body_of(json.loads(text)) == message.body
    assert arguments(text) == ("[1]", "{}")
    assert kept(message, ["password"]) is None


def test_a_large_message_is_not_kept() -> None:
    assert kept(Message(["x" * MOST], {})) is None
    assert arguments(None) == (None, None)


def test_what_follows_is_found_in_a_canvas_and_a_message_that_is_nested_for_ever_ends_nothing() -> None:
    last = {"task": "shop.mail", "options": {"task_id": "b"}}
    canvas = {"chain": [{"task": "shop.add", "options": {}}], "chord": {"body": [last]}}
    assert follower(canvas, "b") == "shop.mail"
    deep: object = last
    for _ in range(5_000):
        deep = [deep]
    assert follower(deep, "b") == "shop.mail"
    assert follower(deep, "c") is None

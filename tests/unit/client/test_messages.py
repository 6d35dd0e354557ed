from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from celeryfleet.client.messages import Message, fresh, reason


def raw(body: object, headers: dict[str, Any], **more: Any) -> bytes:
    text = base64.b64encode(json.dumps(body).encode()).decode()
    properties = {"body_encoding": "base64", "priority": 3}
    return json.dumps(
        {"body": text, "content-type": "application/json", "headers": headers, "properties": properties, **more}
    ).encode()


def test_a_message_of_protocol_2_is_read() -> None:
    headers = {"id": "1", "task": "shop.a", "fleet_sent_at": 5, "retries": 2, "eta": None, "expires": "2026-01-01"}
    found = Message.of_redis(raw([[4, "x"], {"y": None}, {"chord": None}], headers))
    assert (found.id, found.task, found.args, found.kwargs) == ("1", "shop.a", [4, "x"], {"y": None})
    assert (found.sent_at, found.priority, found.retries, found.eta, found.expires) == (5.0, 3, 2, "", "2026-01-01")
    assert found.call == "shop.a(4, 'x', y=None)"


def test_a_message_of_protocol_1_is_read() -> None:
    found = Message.of_redis(raw({"id": "1", "task": "shop.a", "args": [1], "kwargs": {}, "retries": 1}, {}))
    assert (found.id, found.call, found.retries) == ("1", "shop.a(1)", 1)


def test_what_is_pickled_is_never_opened_and_shown_as_its_producer_has_written_it() -> None:
    headers = {"id": "1", "task": "shop.a", "argsrepr": "(<obj>, 2)", "kwargsrepr": "{}"}
    text = raw([["no"], {}, {}], headers, **{"content-type": "application/x-python-serialize"})
    assert Message.of_redis(text).args == "(<obj>, 2)"
    assert Message.of_redis(text).call == "shop.a(<obj>, 2)"


@pytest.mark.parametrize("text", ["", "1", "[]", "{}", '{"properties": [], "body": "", "headers": {}}', "[" * 99999])
def test_what_is_no_message_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="this is no message"):
        Message.of_redis(text)


@pytest.mark.parametrize("body", ["e30=", "!", "gASVEA=="])
def test_a_strange_body_hides_no_more_than_the_arguments(body: str) -> None:
    headers = {"id": "1", "task": "shop.a", "retries": "many", "fleet_parked": {"priority": "x"}, "fleet_sent_at": "x"}
    text = json.dumps({**json.loads(raw("", headers)), "body": body})
    found = Message.of_redis(text)
    assert (found.id, found.retries, found.priority, found.sent_at, found.args) == ("1", 0, None, None, None)


def test_what_has_befallen_a_message_is_told_and_left_behind_when_it_is_sent_on() -> None:
    death = [{"reason": "expired", "queue": "mail"}]
    headers = {"id": "1", "x-death": death, "x-first-death-reason": "expired", "redelivered": True, "mine": 1}
    assert reason(headers) == "expired"
    assert fresh(headers) == {"id": "1", "mine": 1}
    assert reason({"fleet_parked": {}}) == "parked"
    assert reason({"x-death": "x"}) == ""

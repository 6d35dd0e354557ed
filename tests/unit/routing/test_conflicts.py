"""What RabbitMQ 3.10 says of definitions that differ, told in fleet.yaml's words."""

from __future__ import annotations

import pytest

from celeryfleet.routing.conflicts import Conflict, Refusal, adopted, error, explained, refusal

_AT = "for queue 'video' in vhost '/':"
_INEQUIVALENT = "Queue.declare: (406) PRECONDITION_FAILED - inequivalent arg"


def _where(*path: str | int) -> str:
    return "/".join(map(str, path))


@pytest.mark.parametrize(
    ("text", "argument", "received", "current", "kind"),
    [
        (f"'x-max-priority' {_AT} received '10' but current is '5'", "x-max-priority", "10", "5", ""),
        (
            f"'x-max-priority' {_AT} received none but current is the value '5' of type 'signedint'",
            "x-max-priority",
            None,
            "5",
            "signedint",
        ),
        (
            f"'x-overflow' {_AT} received the value 'reject-publish' of type 'longstr' but current is none",
            "x-overflow",
            "reject-publish",
            None,
            "",
        ),
        (f"'durable' {_AT} received 'false' but current is 'true'", "durable", "false", "true", ""),
    ],
)
def test_a_refusal_is_read(text: str, argument: str, received: str | None, current: str | None, kind: str) -> None:
    assert refusal(f"{_INEQUIVALENT} {text}") == Refusal("queue", "video", "/", argument, received, current, kind)


def test_a_refused_argument_is_read_where_the_broker_never_takes_it() -> None:
    text = "invalid arg 'x-max-priority' for queue 'video' in vhost '/' of queue type rabbit_quorum_queue"
    found = refusal(text)
    assert found == Refusal("queue", "video", "/", "x-max-priority", None, None, invalid=True)
    assert found is not None
    assert adopted({"x-max-priority": 3}, found) is None


@pytest.mark.parametrize("text", ["", "(404) NOT_FOUND - no queue 'video' in vhost '/'", "connection lost"])
def test_another_text_is_no_refusal(text: str) -> None:
    assert refusal(text) is None
    assert explained(text) is None


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        (Refusal("queue", "q", "/", "x-max-priority", "10", "5"), {"x-max-priority": 5, "x-dead-letter-exchange": "d"}),
        (Refusal("queue", "q", "/", "x-max-priority", "10", None), {"x-dead-letter-exchange": "d"}),
        (
            Refusal("queue", "q", "/", "x-dead-letter-exchange", "d", "7"),
            {"x-max-priority": 10, "x-dead-letter-exchange": "7"},
        ),
        (
            Refusal("queue", "q", "/", "x-single-active-consumer", None, "true", "bool"),
            {"x-max-priority": 10, "x-dead-letter-exchange": "d", "x-single-active-consumer": True},
        ),
        (Refusal("queue", "q", "/", "durable", "true", "false"), None),
    ],
)
def test_what_the_broker_has_is_declared_to_find_the_next_difference(
    refused: Refusal, expected: dict[str, object] | None
) -> None:
    assert adopted({"x-max-priority": 10, "x-dead-letter-exchange": "d"}, refused) == expected


def test_all_differences_of_a_queue_stand_in_one_sentence_with_what_to_do() -> None:
    refusals = (
        Refusal("queue", "video", "/", "x-max-priority", "10", "5"),
        Refusal("queue", "video", "/", "x-queue-type", "quorum", None),
        Refusal("queue", "video", "/", "x-expires", None, "60000"),
    )
    found = Conflict("queue", "video", "video", refusals, messages=0)
    assert str(error([found], _where)) == (
        'queues/video/max_priority: the queue "video" is on the broker with max_priority 5 (fleet.yaml: 10), '
        "with type classic (fleet.yaml: quorum) and with x-expires 60000 (fleet.yaml: none). "
        "RabbitMQ never changes a queue: write it in fleet.yaml as it is there, or delete it "
        "(`rabbitmqctl delete_queue video --if-empty`), and `celeryfleet up` declares it anew."
    )


def test_messages_that_would_be_lost_are_told_and_a_virtual_host_is_named() -> None:
    one = Refusal("queue", "big video", "/shop x", "x-max-length", None, "9", "signedint")
    text = str(error([Conflict("queue", "big video", "big video", (one,), messages=12)], _where))
    assert "(`rabbitmqctl -p '/shop x' delete_queue 'big video' --if-empty`)" in text
    assert text.endswith(
        "once workers with the old definition have emptied it: it holds 12 messages, which would be lost."
    )


def test_an_exchange_of_another_type_is_placed_at_the_queue_that_names_it() -> None:
    one = Refusal("exchange", "events", "/", "type", "topic", "direct")
    text = str(error([Conflict("exchange", "events", "orders", (one,))], _where))
    assert text.startswith(
        'queues/orders/exchange/type: the exchange "events" is on the broker with type direct (fleet.yaml: topic).'
    )
    assert "`rabbitmqadmin delete exchange name=events`" in text


def test_a_refusal_for_another_reason_is_passed_on() -> None:
    found = Conflict("queue", "amq.q", "amq.q", (), text="ACCESS_REFUSED - queue name contains reserved prefix")
    assert str(error([found], _where)).startswith(
        'queues/amq.q: RabbitMQ refuses the queue "amq.q": ACCESS_REFUSED - queue name contains reserved prefix.'
    )

from __future__ import annotations

import datetime
import time
from typing import Any

import pytest

from celeryfleet.client.inspect import registered, tasks
from celeryfleet.client.options import Options
from celeryfleet.client.results import look_up
from celeryfleet.client.send import send, wait
from celeryfleet.errors import Exit, FleetError


@pytest.mark.usefixtures("worker")
def test_a_task_is_sent_where_its_route_says_and_its_result_awaited(app: Any) -> None:
    sent = send(app, "shop.xsum", [[4, 4]])
    outcome, _ = wait(app, sent, 20)
    assert (sent.queue, outcome.state, outcome.result) == ("sums", "SUCCESS", 8)
    assert look_up(app, sent.id).result == 8
    assert outcome.took_s > 0


@pytest.mark.usefixtures("worker")
def test_a_result_is_there_soon_after_the_task_ended(app: Any) -> None:
    wait(app, send(app, "shop.add", [1, 1]), 20)
    began = time.monotonic()
    assert wait(app, send(app, "shop.nap", [0.3]), 20)[0].result == 0.3
    assert time.monotonic() - began < 0.4


@pytest.mark.usefixtures("worker")
def test_a_failing_task_is_told_with_its_traceback(app: Any) -> None:
    sent = send(app, "shop.fail")
    outcome, _ = wait(app, sent, 20)
    assert outcome.state == "FAILURE"
    assert outcome.error == "FileNotFoundError: No such image: missing.jpg"
    assert "raise FileNotFoundError" in outcome.failed[0].traceback


@pytest.mark.usefixtures("worker")
def test_a_task_that_keeps_no_result_keeps_this_one(app: Any) -> None:
    assert wait(app, send(app, "shop.forgetful"), 20)[0].result == "kept all the same"


@pytest.mark.usefixtures("worker")
def test_options_reach_the_message(app: Any) -> None:
    later = datetime.datetime.now() + datetime.timedelta(seconds=0.2)
    sent = send(
        app, "shop.where", options=Options(queue="low", priority=9, eta=later), wire_priority=lambda own: 9 - own
    )
    assert wait(app, sent, 20)[0].result == ["low"]
    assert datetime.datetime.now() >= later
    expired = send(app, "shop.add", [1, 1], options=Options(countdown=0.3, expires=0.1))
    assert wait(app, expired, 20)[0].state == "REVOKED"


def test_priority_is_given_to_the_wire(app: Any) -> None:
    asked: list[int] = []
    send(
        app,
        "shop.add",
        [1, 1],
        options=Options(queue="nobody", priority=7),
        wire_priority=lambda own: asked.append(own),
    )
    assert asked == [7]


@pytest.mark.parametrize("force", [False, True])
def test_an_unknown_queue_is_refused(app: Any, force: bool) -> None:
    with pytest.raises(FleetError) as caught:
        send(app, "shop.add", [1, 1], options=Options(queue="loww"), force=force)
    assert str(caught.value) == ('the queue "loww" is unknown. Did you mean "low"?')


def test_arguments_that_do_not_fit_are_refused_with_the_signature(app: Any) -> None:
    with pytest.raises(FleetError) as caught:
        send(app, "shop.add", [1], {"z": 2})
    assert caught.value.code is Exit.USAGE
    assert str(caught.value).endswith("It is called as add(x, y).")
    assert send(app, "shop.typed", [1, 2, 3], options=Options(queue="nobody")).queue == "nobody"


def test_arguments_that_json_cannot_carry_are_refused(app: Any) -> None:
    with pytest.raises(FleetError, match="travel as JSON"):
        send(app, "shop.same", [object()])


def test_an_unregistered_task_is_only_sent_by_force(app: Any) -> None:
    with pytest.raises(FleetError, match="--force sends it anyway"):
        send(app, "else.where")
    assert send(app, "else.where", options=Options(queue="nobody"), force=True).queue == "nobody"


def test_a_task_not_waited_for_is_pending(app: Any) -> None:
    sent = send(app, "shop.add", [1, 1], options=Options(queue="nobody"), keep=False)
    assert wait(app, sent, 0)[0].state == "PENDING"


def test_tasks_are_described_by_name_short_name_signature_and_first_line(app: Any) -> None:
    names = registered(app)
    assert "shop.add" in names
    assert not [name for name in names if name.startswith("celery.")]
    by_name = {task.name: task for task in tasks(app, {"plus": "shop.add"})}
    add = by_name["shop.add"]
    assert (add.short, add.aliases, add.signature) == ("shop.add", ("plus",), "(x, y)")
    assert add.summary == "Add two numbers."
    assert by_name["shop.where"].short == "where"
    assert by_name["shop.where"].signature == "(*_)"
    assert by_name["shop.mul"].summary == ""

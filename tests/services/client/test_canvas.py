from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, signature
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celeryfleet.client.expression import Names, parse
from celeryfleet.client.outcome import Outcome, Progress
from celeryfleet.client.results import look_up
from celeryfleet.client.send import start, wait
from celeryfleet.client.signatures import Step, chained, grouped, leaves, members, sequence
from celeryfleet.errors import Exit, FleetError
from tests.services.client import shop

pytestmark = [
    pytest.mark.usefixtures("worker"),
    # Celery saves a group with what redis-py calls deprecated.
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
]

LOST = "FileNotFoundError: No such image: missing.jpg"


def run(app: Any, step: Step, timeout: float = 20) -> Outcome:
    return wait(app, start(app, step), timeout)[0]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("shop.add.s(2, 2)", 4),
        ("chain(shop.add.s(4, 4) | mul.s(8))().get()", 64),
        ("group(shop.add.s(i, i) for i in range(10))", [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]),
        ("group(shop.add.s(i) for i in range(10))(10)", [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]),
        ("chord((shop.add.s(i, i) for i in range(10)), xsum.s())", 90),
        ("chord([shop.add.s(1, 1)], xsum.s()) | mul.s(3)", 6),
        ("shop.add.chunks(zip(range(6), range(6)), 4)", [[0, 2, 4, 6], [8, 10]]),
        ("xsum.map([range(10), range(100)])", [45, 4950]),
        ("shop.add.starmap(zip(range(3), range(3)))", [0, 2, 4]),
        ("shop.add.s(1, 1) | group(mul.s(2), mul.s(3)) | xsum.s() | shop.add.s(1)", 11),
        ("group(shop.add.s(1, 1) | mul.s(2), mul.s(2, 2) | mul.s(2))", [4, 8]),
        ("group(shop.add.s(1, 1)) | xsum.s()", 2),
        ("chord([chord([shop.add.s(1, 1), shop.add.s(2, 2)], xsum.s()), shop.add.s(1, 1)], xsum.s())", 8),
        ("group(group(same.s(1), same.s(2)), same.s(3)) | same.s()", [1, 2, 3]),
        ("forgetful.s()", "kept all the same"),
        ("same.s(x for x in [1, 2])", [1, 2]),
        ("plus.s(x=1, y=1).set(priority=9)", 2),
        ("same.s(1) | group(same.si(2)) | same.s()", [2]),
    ],
)
def test_a_canvas_gives_what_celery_gives(app: Any, names: Names, text: str, result: Any) -> None:
    outcome = run(app, parse(text, names, app).step)
    assert (outcome.state, outcome.result, outcome.failed) == ("SUCCESS", result, ())
    assert 0 < outcome.took_s < 10


def test_every_message_goes_where_its_route_or_its_queue_says(app: Any, names: Names) -> None:
    text = "group(where.s(), where.s().set(queue='low'), where.s() | where.s().set(queue='sums') | where.s())"
    assert run(app, parse(text, names, app).step).result == [["default"], ["low"], ["default", "sums", "default"]]
    routed = "chord([where.s().set(queue='low'), where.s()], same.s()) | where.s()"
    assert run(app, parse(routed, names, app).step).result == [["low"], ["default"], "default"]


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        ("fail.s()", 1),
        ("chord([fail.s(), shop.add.s(1, 1)], xsum.s())", 1),
        ("shop.add.s(1, 1) | fail.s() | mul.s(3)", 1),
        ("group(fail.s(), shop.add.s(1, 1), fail.s())", 2),
        ("chord([chain(fail.s(), shop.add.s(1)), shop.add.s(1, 1)], xsum.s())", 1),
        ("shop.add.s(1, 1) | group(fail.s(), mul.s(2)) | xsum.s() | mul.s(2)", 1),
    ],
)
def test_a_failure_names_the_task_that_failed_and_no_other(app: Any, names: Names, text: str, failed: int) -> None:
    running = start(app, parse(text, names, app).step)
    outcome, _ = wait(app, running, 20)
    own = {leaf.id for leaf in leaves(running.step) if leaf.task == "shop.fail"}
    assert (outcome.state, outcome.result, outcome.error) == ("FAILURE", None, LOST)
    assert len(outcome.failed) == failed
    for one in outcome.failed:
        assert one.id in own
        assert (one.task, one.error) == ("shop.fail", LOST)
        assert "raise FileNotFoundError" in one.traceback


def test_a_chord_leaves_no_subscription_to_cancel_at_the_end_of_python(app: Any, names: Names) -> None:
    before = set(app.backend.result_consumer.subscribed_to)
    outcome = run(app, parse("chord([shop.add.s(1, 1), shop.add.s(2, 2)], xsum.s())", names, app).step)
    assert outcome.result == 6
    assert app.backend.result_consumer.subscribed_to == before


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("shop.add.s(2) | mul.s(8)", "shop.add cannot take these arguments: add() missing 1 required"),
        ("group(shop.add.s(1, 1), mul.s(1, 2, 3))", "shop.mul cannot take these arguments: mul() takes 2"),
        ("shop.add.s(1, 1) | mul.s(2, 3)", "It is called as mul(x, y), and the result before it comes first."),
        ("chord([shop.add.s(1, 1)], mul.si(1))", "shop.mul cannot take these arguments: mul() missing 1 required"),
    ],
)
def test_wrong_arguments_in_a_canvas_are_told_before_anything_is_sent(
    app: Any, names: Names, text: str, error: str
) -> None:
    with pytest.raises(FleetError) as raised:
        start(app, parse(text, names, app).step)
    assert error in str(raised.value)


def test_the_body_of_a_failed_chord_is_never_run(app: Any, names: Names) -> None:
    running = start(app, parse("chord([fail.s(), shop.add.s(1, 1)], same.s())", names, app).step)
    _, records = wait(app, running, 20)
    body = list(leaves(running.step))[-1]
    assert records.get(body.id) is None or "ChordError" in records[body.id].error


def test_a_task_that_nobody_takes_ends_with_the_timeout(app: Any, names: Names) -> None:
    running = start(app, parse("shop.add.s(1, 1).set(queue='nobody')", names, app).step)
    began = time.monotonic()
    outcome, _ = wait(app, running, 0.3)
    assert 0.3 <= time.monotonic() - began < 0.4
    assert (outcome.state, outcome.ready) == ("PENDING", False)


def test_progress_is_told_from_none_to_all(app: Any, names: Names) -> None:
    told: list[Progress] = []
    running = start(app, parse("group(shop.add.s(1, 1), fail.s()) | xsum.s()", names, app).step)
    wait(app, running, 20, told.append)
    assert told[0] == Progress(0, 0, 3)
    assert (told[-1].total, told[-1].failed >= 1) == (3, True)
    assert [progress.done for progress in told] == sorted(progress.done for progress in told)


@pytest.mark.parametrize("text", ["group(mul.s(1, 2), mul.s(2, 2))", "shop.add.s(1, 1) | group(mul.s(1), mul.s(2))"])
def test_a_closing_group_can_be_looked_up_by_its_id(app: Any, names: Names, text: str) -> None:
    outcome, _ = wait(app, start(app, parse(text, names, app).step), 20)
    assert look_up(app, outcome.id).result == [2, 4]
    assert look_up(app, "unknown").state == "PENDING"


def test_an_errback_runs(app: Any, names: Names) -> None:
    step = parse("fail.s().on_error(same.si('mended').set(queue='low'))", names, app).step
    assert run(app, step).state == "FAILURE"


def test_without_results_a_canvas_is_refused(names: Names) -> None:
    with (
        Celery("mute", broker="memory://", set_as_current=False) as mute,
        pytest.raises(FleetError, match="no results"),
    ):
        start(mute, signature("shop.add", (1, 1)))


def test_a_chord_is_refused_where_the_backend_cannot_run_one(names: Names) -> None:
    text = "group(shop.add.s(1, 1), shop.add.s(2, 2)) | xsum.s()"
    with (
        Celery("mute", broker="memory://", backend="rpc://", set_as_current=False) as rpc,
        pytest.raises(FleetError, match=r"rpc:// cannot run a chord\. Set `results:`"),
    ):
        start(rpc, parse(text, names, rpc).step)


def test_a_broker_that_is_down_is_told_at_once(names: Names) -> None:
    url = "redis://:secret@127.0.0.1:1/0"
    text = "group(shop.add.s(1, 1), shop.add.s(2, 2)) | xsum.s()"
    began = time.monotonic()
    with Celery("down", broker=url, backend=url, set_as_current=False) as down, pytest.raises(FleetError) as caught:
        start(down, parse(text, names, down).step)
    assert caught.value.code is Exit.BROKER
    assert "secret" not in str(caught.value)
    assert time.monotonic() - began < 3


# Steps of `same`, which gives back what it is given, so that a few lines here can foretell any canvas.


def foretold(step: Step, given: tuple[Any, ...] = ()) -> Any:
    for part in sequence(step):
        if members(part):
            given = ([foretold(member, given) for member in members(part)],)
        else:
            values = [*given, *part.args]
            given = (values[0] if len(values) == 1 else values,)
    return given[0]


def canvases() -> st.SearchStrategy[Step]:
    """Give canvases with groups of one, and groups and chords anywhere."""

    def larger(inner: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
        lists = st.lists(inner, min_size=1, max_size=3)
        return lists.map(lambda steps: grouped(steps, shop.app)) | lists.map(lambda steps: chained(steps, shop.app))

    tasks = st.integers(0, 9).map(lambda number: signature("shop.same", (number,), app=shop.app))
    return st.recursive(tasks, larger, max_leaves=7)


@given(canvases())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_canvas_gives_what_its_steps_foretell(app: Any, step: Step) -> None:
    outcome = run(app, step)
    assert (outcome.state, outcome.result) == ("SUCCESS", foretold(step))


@pytest.fixture(autouse=True)
def _own_app() -> Iterator[None]:
    yield
    shop.app.set_current()

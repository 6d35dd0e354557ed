"""What celeryfleet.client.seam leans on: these fail when Celery or kombu change it."""

from __future__ import annotations

from typing import Any

import pytest
from amqp.exceptions import MessageNacked
from celery import Celery, group, signature, xmap
from celery.exceptions import QueueNotFound
from kombu.exceptions import OperationalError

from celeryfleet.client import seam


@pytest.fixture
def app() -> Any:
    app = Celery("seam", broker="memory://", backend="cache+memory://", set_as_current=False)

    @app.task(name="seam.add", shared=False)  # type: ignore[untyped-decorator]
    def add(x: int, y: int) -> int:
        return x + y

    return app


def test_a_chain_with_an_app_keeps_its_groups_of_one_and_has_celery_s_own_type(app: Any) -> None:
    one = group([signature("seam.add")], app=app)
    chain = seam.unfolded_chain([signature("seam.add"), one], app)
    assert (chain.subtask_type, chain.tasks[1]) == ("chain", one)
    assert seam.unfolded_chain([one], app) is one


def test_a_clone_of_a_map_is_no_map_but_keeps_the_name_to_route_by(app: Any) -> None:
    routed = seam.routed_by_task(xmap(signature("seam.add", app=app), [1], app=app))
    clone = routed.clone()
    assert (clone.task, clone.options, type(clone) is xmap) == ("celery.map", {"route_name": "seam.add"}, False)


def test_arguments_are_bound_as_apply_async_does(app: Any) -> None:
    seam.bind(app.tasks["seam.add"], (1,), {"y": 2})
    with pytest.raises(TypeError) as ours:
        seam.bind(app.tasks["seam.add"], (1,), {})
    with pytest.raises(TypeError) as theirs:
        app.tasks["seam.add"].apply_async((1,), {})
    assert str(ours.value) == str(theirs.value)


def test_an_unknown_queue_is_named(app: Any) -> None:
    app.conf.task_create_missing_queues = False
    with pytest.raises(QueueNotFound) as caught:
        app.tasks["seam.add"].apply_async((1, 2), queue="loww")
    assert seam.unknown_queue(caught.value) == "loww"


def test_kombu_tells_of_a_refused_message_as_of_a_lost_connection(app: Any) -> None:
    connection = app.connection_for_write(transport="pyamqp")
    assert issubclass(MessageNacked, tuple(connection.recoverable_connection_errors))
    error = OperationalError()
    error.__cause__ = MessageNacked()
    assert seam.is_nack(error)
    assert not seam.is_nack(OperationalError())


@pytest.mark.parametrize(
    ("backend", "kept", "many"),
    [
        ("disabled://", False, False),
        ("redis://", True, True),
        ("rpc://", True, False),
        ("file:///tmp", True, True),
        ("cache+memory://", True, True),
    ],
)
def test_a_backend_says_what_it_keeps_and_whether_it_reads_many(backend: str, kept: bool, many: bool) -> None:
    app = Celery("seam-backend", broker="memory://", backend=backend, set_as_current=False)
    assert (not seam.keeps_no_results(app), seam.reads_many(app)) == (kept, many)


def test_no_backend_is_one_that_keeps_nothing() -> None:
    assert seam.keeps_no_results(Celery("seam-none", broker="memory://", set_as_current=False))


def test_many_results_are_read_as_celery_has_stored_them(app: Any) -> None:
    app.backend.store_result("seam-1", {"x": 1}, "SUCCESS")
    (found,) = seam.read_many(app, ["seam-1", "seam-2"]).items()
    assert (found[0], found[1]["status"], found[1]["result"]) == ("seam-1", "SUCCESS", {"x": 1})
    assert seam.read_many(app, []) == {}


def test_nobody_subscribes_while_sending_and_later_as_before(app: Any) -> None:
    redis = Celery("seam-redis", broker="memory://", backend="redis://127.0.0.1:1", set_as_current=False)
    before = redis.backend.add_pending_result
    with seam.without_subscribing(redis):
        result = redis.AsyncResult("seam-3")
        assert redis.backend.add_pending_result(result) is result
    assert redis.backend.add_pending_result == before
    with seam.without_subscribing(Celery("seam-rpc", broker="memory://", backend="rpc://", set_as_current=False)):
        pass

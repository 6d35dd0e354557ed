"""The namespace router for anybody's Celery app, and how the user's own routers are asked."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from celery import Celery

from celeryfleet.app import apply
from celeryfleet.app.routers import UserRouter, asker
from celeryfleet.errors import FleetError
from celeryfleet.routers import namespace
from tests.unit.routing import answering


def app_with(*routes: Any, **conf: Any) -> Celery:
    app = Celery("plain", broker="memory://", set_as_current=False)
    queues: dict[str, Any] = {"mail": {}, "default": {}}
    app.conf.update(task_routes=routes, task_queues=queues, task_default_queue="default", **conf)
    return app


class TestNamespace:
    @pytest.mark.parametrize("route", ["celeryfleet.routers.namespace", "celeryfleet.routers:namespace", namespace])
    def test_it_works_in_any_app_as_a_path_and_as_an_object(self, route: Any) -> None:
        app = app_with(route)
        assert app.amqp.router.route({}, "mail:welcome")["queue"].name == "mail"
        assert app.amqp.router.route({}, "welcome")["queue"].name == "default"

    @pytest.mark.parametrize("name", ["plain", ":x", "", "::"])
    def test_it_says_nothing_where_no_name_is_before_a_colon(self, name: str) -> None:
        assert namespace(name) is None

    def test_a_second_colon_is_part_of_the_task(self) -> None:
        """Guards against the ValueError that the usual recipe raises."""
        assert namespace("mail:a:b") == {"queue": "mail"}

    def test_a_task_of_the_app_is_never_sent_to_a_queue_that_the_app_does_not_declare(self) -> None:
        app = app_with("celeryfleet.routers.namespace")

        def fetch() -> None: ...

        task = app.task(name="http://x", shared=False)(fetch)
        assert app.amqp.router.route({}, "http://x", task_type=task)["queue"].name == "default"
        assert list(app.amqp.queues) == ["mail", "default"]

    def test_one_that_is_not_known_here_is_taken_at_its_word(self) -> None:
        assert namespace("elsewhere:x", task=None) == {"queue": "elsewhere"}


class TestUserRouter:
    @pytest.mark.parametrize("name", ["Router", "instance", "function", "CallableRouter"])
    def test_it_is_asked_in_whatever_form_it_is(self, name: str, answers: dict[str, Any]) -> None:
        answers["a"] = "mail"
        router = UserRouter(f"tests.unit.routing.answering.{name}")
        assert (router("a"), router("b")) == ({"queue": "mail"}, None)

    def test_a_router_that_returns_the_same_dict_each_time_is_not_changed_by_a_call(
        self, answers: dict[str, Any]
    ) -> None:
        """Guards against Celery, which writes the options of each call into the answer."""
        answers["a"] = {"queue": "mail"}
        app = app_with()
        apply(app, {"task_routes": [{"router": "tests.unit.routing.answering.Router"}]})
        assert app.amqp.router.route({"queue": "default"}, "a")["queue"].name == "default"
        assert app.amqp.router.route({}, "a")["queue"].name == "mail"
        assert answers["a"] == {"queue": "mail"}

    def test_celery_by_itself_sends_everything_where_one_call_went(self, answers: dict[str, Any]) -> None:
        """The reason for the copy: if this fails, Celery has mended it."""
        answers["a"] = {"queue": "mail"}
        app = app_with("tests.unit.routing.answering.Router")
        app.amqp.router.route({"queue": "default"}, "a")
        assert app.amqp.router.route({}, "a")["queue"].name == "default"

    @pytest.mark.parametrize(
        ("answer", "priority"), [("mail", 9), ({"queue": "mail", "priority": None}, 9), ({"priority": 0}, 0), ({}, 9)]
    )
    def test_an_answer_without_a_priority_gets_the_lowest_where_there_are_any(
        self, answer: Any, priority: int, answers: dict[str, Any]
    ) -> None:
        answers["a"] = answer
        found = UserRouter("tests.unit.routing.answering.Router", 9)("a")
        assert found is not None
        assert found["priority"] == priority

    @pytest.mark.parametrize(
        ("path", "error"),
        [
            ("no.such.Router", "cannot be imported: ModuleNotFoundError"),
            ("tests.unit.routing.answering.nothing", "cannot be imported: AttributeError"),
            ("tests.unit.routing.answering.ANSWERS", "is no router, but dict"),
        ],
    )
    def test_one_that_is_none_is_an_error_that_says_where(self, path: str, error: str) -> None:
        with pytest.raises(FleetError, match=f"^fleet.yaml:3: .*{error}"):
            UserRouter(path).load("fleet.yaml:3")

    def test_one_that_fails_is_told_of_with_its_line_and_its_own(self) -> None:
        router = UserRouter("shop.Router")

        def fails(*_: Any, **__: Any) -> Any:
            raise LookupError("no such thing")

        router._found = fails
        with pytest.raises(FleetError, match=r"^fleet\.yaml:3: the router .* LookupError: no such thing") as error:
            asker(router, "fleet.yaml:3")("a", (), {})
        assert f"It fails at {__file__}:" in str(error.value)

    def test_it_travels_to_a_spawned_process(self) -> None:
        router = UserRouter("tests.unit.routing.answering.Router", 9)
        router.load()
        again = pickle.loads(pickle.dumps(router))
        assert (again.path, again.priority, type(again.load()).__name__) == (router.path, 9, "Router")

    @pytest.fixture
    def answers(self) -> Any:
        answering.ANSWERS.clear()
        yield answering.ANSWERS
        answering.ANSWERS.clear()

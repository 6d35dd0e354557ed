"""What is said of routers of the user's, which are asked about each task without arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from celeryfleet.app.router_check import check_routers
from celeryfleet.app.routers import UserRouter, asker
from celeryfleet.errors import FleetError
from celeryfleet.lint import Finding, lint
from celeryfleet.plan.build import build
from tests.unit.lint.cases import EVENTS, pool, tasks
from tests.unit.plan.fleets import FACTS, fleet_of, fleet_text

Function = Callable[..., Any]


def asked(*functions: Function, app: Any = None, **keys: Any) -> list[Finding]:
    """Lint a fleet whose routes are these routers; return what is said of them and of what they decide."""
    app = app or tasks(a={}, b={})
    routes = [{"router": f"shop.r{number}"} for number, _ in enumerate(functions)]
    fleet = fleet_of(fleet_text(**{"routes": routes, "pools": pool(), **keys}))
    plan = build(fleet, FACTS)
    routers = {
        f"shop.r{number}": _asker(function, fleet.where("routes", number, "router"))
        for number, function in enumerate(functions)
    }
    return lint(fleet, plan, app, None, None, check_routers(fleet, plan.routing, app.tasks, routers))


def _asker(function: Function, where: str) -> Function:
    router = UserRouter("shop.r")
    router._found = function
    return asker(router, where)


def _says(answer: Any) -> Function:
    return lambda *_, **__: answer


def _looks_up(name: str, *_: Any, **__: Any) -> Any:
    nothing: dict[str, str] = {}
    return nothing[name]


@pytest.mark.parametrize(
    ("router", "what"),
    [
        (_says("ghost"), 'sends "shop.a" and "shop.b" to the unknown queue "ghost": a send fails.'),
        (_says({"queue": "ghost"}), 'sends "shop.a" and "shop.b" to the unknown queue "ghost": a send'),
        (_says(42), 'sends "shop.a" and "shop.b" to 42, which is no queue: a send fails.'),
        (_looks_up, 'fails for "shop.a" and "shop.b": KeyError: \'shop.a\' and 1 more like it.'),
        (lambda task: None, "cannot be asked as Celery asks: TypeError: "),
        (_says({"exchange": "nix", "exchange_type": "topic", "routing_key": "k"}), 'to the exchange "nix", where no'),
        (_says({"queue": "video", "priority": "high"}), 'gives an answer for "shop.a" and "shop.b" that cannot be'),
    ],
)
def test_a_router_that_no_task_can_be_sent_by_is_one_warning(router: Function, what: str) -> None:
    (finding,) = asked(router)
    assert (finding.code, finding.level) == ("CF028", "warning")
    assert finding.what.startswith("the router shop.r0 ")
    assert what in finding.what
    assert finding.line == 1
    assert finding.hint


def _first(_name: str, args: Any, *_: Any, **__: Any) -> Any:
    return args[0]


def _shard(_name: str, _args: Any, kwargs: Any, *_: Any, **__: Any) -> Any:
    return f"shard-{kwargs.get('number')}"


def _unpacks(_name: str, args: Any, *_: Any, **__: Any) -> Any:
    (customer,) = args
    return customer


def _spreads(_name: str, _args: Any, kwargs: Any, *_: Any, **__: Any) -> Any:
    return (lambda *, queue: queue)(**kwargs)


@pytest.mark.parametrize("router", [_first, _shard, _unpacks, _spreads])
def test_a_router_that_looked_at_arguments_gets_the_benefit_of_the_doubt(router: Function) -> None:
    (finding,) = asked(router)
    assert (finding.code, finding.level) == ("CF028", "info")
    assert finding.what.startswith("the router shop.r0, asked without arguments, ")
    assert "celeryfleet/app/router_check.py" not in finding.hint
    assert finding.hint.splitlines()[-1].startswith("Right if these are never sent without arguments")


def test_where_a_router_fails_is_said() -> None:
    (finding,) = asked(_looks_up)
    assert finding.hint.startswith(f"It fails at {__file__}:")
    assert finding.hint.endswith("return nothing[name]")


@pytest.mark.parametrize("answer", [None, "video", {"queue": "video"}, {}, {"priority": 3}])
def test_a_sound_router_is_not_spoken_of(answer: Any) -> None:
    assert asked(_says(answer)) == []


def test_a_task_whose_own_code_is_wrong_is_not_blamed_on_a_router() -> None:
    assert [f.code for f in asked(_says(None), app=tasks(a={"queue": "ghost"}))] == ["CF027"]


def test_the_router_that_decides_is_blamed_and_not_the_one_before_it() -> None:
    (finding,) = asked(_says(None), _says("ghost"))
    assert "shop.r1" in finding.what


def test_an_answer_that_does_not_depend_on_arguments_tells_which_pool_runs_a_task() -> None:
    app = tasks(a={"time_limit": 5})
    pools = {
        "web": {"queues": ["default", "events"], "order": "round_robin"},
        "io": {"queues": ["video"], "pool": "threads"},
    }
    keys: dict[str, Any] = {"app": app, "queues": EVENTS, "pools": pools}
    assert [f.what for f in asked(_says("video"), **keys)] == [
        'the time_limit in the code of "shop.a" does nothing in a threads pool.'
    ]
    assert asked(_says("default"), **keys) == []
    assert asked(lambda _n, args, *_, **__: "video" if not args else "default", **keys) == []


def test_a_router_may_raise_what_the_fleet_raises() -> None:
    def refuses(*_: Any, **__: Any) -> Any:
        raise FleetError("no.")

    assert asked(refuses) == []

from __future__ import annotations

from typing import Any

import pytest

from celeryfleet.cli.report import document, down, health, report
from celeryfleet.errors import FleetError
from celeryfleet.plan.values import BrokerPlan, Plan, PoolPlan
from celeryfleet.routing.queue import Queue

SECRET = "redis://:s3cret@host:6379/0"


def worker(name: str, state: str = "ready", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "node": f"{name}@shop.host",
        "pid": 2,
        "state": state,
        "uptime_s": 3.0,
        "restarts": 0,
        "active": 0,
        "processed": 12,
        "failed": 0,
        "rss_bytes": 52428800,
        "last_exit": None,
        "cause": "",
        **changes,
    }


def pool(name: str, want: int, *workers: dict[str, Any]) -> dict[str, Any]:
    ready = sum(worker["state"] == "ready" for worker in workers)
    return {
        "name": name,
        "queues": ["mail", "default"],
        "want": want,
        "ready": ready,
        "kind": "prefork",
        "concurrency": 4,
        "workers": list(workers),
    }


def reply(*pools: dict[str, Any], state: str = "ready", notes: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "fleet": "shop",
        "state": state,
        "supervisor": {"pid": 1, "uptime_s": 3.2},
        "notes": list(notes),
        "pools": list(pools),
        "broker": {"url": SECRET, "shown": "redis://:***@host:6379/0", "kind": "redis", "steps": [0], "sep": "x"},
        "queues": [{"name": "mail", "exchange": "mail", "routing_key": "mail", "max_age": 30.0, "consumers": 2}],
        "unacked_keys": ["unacked:web-1@shop.host"],
        "paused": [],
    }


def test_the_json_is_what_its_schema_says_and_nothing_else() -> None:
    status = reply(pool("web", 2, worker("web-1"), worker("web-2", pid=3)))
    found = document(report(status, {"mail": {"ready": 7, "unacked": 1, "oldest_age_s": 1.5}}))
    expected = {
        "schema_version": 1,
        "fleet": "shop",
        "state": "ready",
        "supervisor": {"pid": 1, "uptime_s": 3.2},
        "broker": {"url": "redis://:***@host:6379/0", "state": "up"},
        "pools": [
            {
                "name": "web",
                "queues": ["mail", "default"],
                "want": 2,
                "ready": 2,
                "workers": [
                    {
                        "name": f"web-{number}",
                        "node": f"web-{number}@shop.host",
                        "pid": number + 1,
                        "state": "ready",
                        "uptime_s": 3.0,
                        "restarts": 0,
                        "active": 0,
                        "processed": 12,
                        "failed": 0,
                        "rss_bytes": 52428800,
                        "last_exit": None,
                    }
                    for number in (1, 2)
                ],
            }
        ],
        "queues": [{"name": "mail", "ready": 7, "unacked": 1, "oldest_age_s": 1.5, "consumers": 2}],
    }
    assert found == expected
    # the order of the keys, too
    assert repr(found) == repr(expected)


def test_a_broker_that_cannot_be_reached_is_down_its_depths_unknown_and_the_fleet_degraded() -> None:
    found = document(report(reply(), None, "host:6379: nothing listens there"))
    assert (found["state"], found["broker"]["state"]) == ("degraded", "down")
    assert found["queues"] == [{"name": "mail", "ready": None, "unacked": None, "oldest_age_s": None, "consumers": 2}]
    assert document(report(reply(state="stopping"), None, "gone"))["state"] == "stopping"


def test_no_credential_reaches_the_report() -> None:
    assert "s3cret" not in repr(report(reply(), None, "gone"))


def test_a_fleet_that_is_down_has_the_same_shape() -> None:
    plan = Plan(
        fleet="shop",
        file="/srv/shop/fleet.yaml",
        state_dir="/srv/shop/.celeryfleet/shop",
        control="/srv/shop/.celeryfleet/shop/control.sock",
        app="shop",
        django="",
        settings={},
        env={},
        broker=BrokerPlan(url=SECRET, shown="redis://:***@host:6379/0", results=SECRET),
        queues=(Queue("mail", "mail", max_age=30.0),),
        pools=(
            PoolPlan(
                name="web",
                queues=("mail",),
                replicas=2,
                kind="prefork",
                concurrency=4,
                argv=(),
                options={"hostname": "{name}@shop.host"},
                conf={},
                env={},
                fork=True,
            ),
        ),
    )
    found = document(down("shop", plan))
    up = document(report(reply(pool("web", 1, worker("web-1"))), None))
    assert list(found) == list(up)
    assert list(found["pools"][0]) == list(up["pools"][0])
    assert list(found["pools"][0]["workers"][1]) == list(up["pools"][0]["workers"][0])
    assert list(found["queues"][0]) == list(up["queues"][0])
    assert (found["state"], found["supervisor"]) == ("down", {"pid": None, "uptime_s": None})
    assert found["broker"] == {"url": "redis://:***@host:6379/0", "state": "down"}
    last = found["pools"][0]["workers"][1]
    assert (last["name"], last["node"], last["pid"], last["state"]) == ("web-2", "web-2@shop.host", None, "stopped")
    depth = {"mail": {"ready": 3, "unacked": 0, "oldest_age_s": None}}
    assert document(down("shop", plan, depth))["queues"][0]["ready"] == 3
    assert document(down("shop", plan, depth))["broker"]["state"] == "up"
    assert document(down("shop"))["pools"] == []


@pytest.mark.parametrize(
    ("status", "pool_", "expected"),
    [
        (reply(pool("web", 2, worker("web-1"), worker("web-2"))), "", (True, "shop is ready: 2 of 2 workers")),
        (reply(pool("web", 1, worker("web-1"))), "web", (True, "web is ready: 1 of 1 worker")),
        (reply(pool("web", 0)), "", (True, "shop is ready: 0 of 0 workers")),
        (
            reply(pool("web", 1, worker("web-1"), worker("web-2", "stopping"))),
            "",
            (True, "shop is ready: 1 of 1 worker"),
        ),
        (
            reply(pool("web", 2, worker("web-1"), worker("web-2", "failed")), pool("low", 1), state="degraded"),
            "",
            (False, "web: 1 of 2 ready (web-2 failed); low: 0 of 1 ready"),
        ),
        (
            reply(pool("web", 1, worker("web-1")), pool("low", 1, worker("low-1", "backoff")), state="degraded"),
            "web",
            (True, "web is ready: 1 of 1 worker"),
        ),
        (
            reply(pool("web", 5, *(worker(f"web-{n}", "starting") for n in range(1, 6))), state="starting"),
            "",
            (False, "web: 0 of 5 ready (web-1 starting, web-2 starting, web-3 starting, and 2 more)"),
        ),
        (reply(pool("web", 1, worker("web-1")), state="stopping"), "", (False, "shop is stopping")),
        (
            reply(pool("web", 1, worker("web-1")), state="degraded", notes=("The broker does not start: no disk.",)),
            "",
            (False, "shop is degraded. The broker does not start: no disk."),
        ),
    ],
)
def test_health_is_whether_all_that_is_wanted_is_ready(
    status: dict[str, Any], pool_: str, expected: tuple[bool, str]
) -> None:
    assert health(status, pool_) == expected


def test_the_health_of_an_unknown_pool_is_an_error() -> None:
    with pytest.raises(FleetError) as caught:
        health(reply(pool("web", 1, worker("web-1")), pool("low", 0)), "wbe")
    assert str(caught.value) == 'there is no pool "wbe". The pools are web, low.'

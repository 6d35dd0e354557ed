"""What a broker is asked for `check`, and what it need not answer."""

from __future__ import annotations

import pytest

from celeryfleet.cli.examine import server_facts, server_of
from celeryfleet.endpoint import Refusal
from celeryfleet.lint import Server
from celeryfleet.plan.build import build
from celeryfleet.plan.values import Plan
from celeryfleet.redis_client import connect
from tests.machine_services import REDIS, need
from tests.servers import redis_server
from tests.unit.plan.fleets import FACTS, fleet_of, fleet_text


def plan(url: str) -> Plan:
    return build(fleet_of(fleet_text(broker=url)), FACTS)


def test_a_redis_is_asked_for_its_limits() -> None:
    server, note = server_facts(plan(need(REDIS)))
    assert note == ""
    assert server is not None
    assert isinstance(server.max_clients, int)
    assert server.policy


def test_a_redis_that_forbids_to_be_asked_leaves_its_limits_unknown() -> None:
    with redis_server() as path:
        url = f"redis+socket://{path}?virtual_host=0"
        with connect(url) as connection:
            connection.call("ACL", "SETUSER", "default", "-info", "-config")
        assert server_facts(plan(url)) == (Server(), "")


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        (["-zadd", "-publish"], "ZADD, PUBLISH."),
        (
            ["resetkeys", "~default*", "~unacked*", "~_kombu*", "~celery-*"],
            "LPUSH video, RPUSH video, RPOP video, ",
        ),
        (["resetchannels"], "PUBLISH /0.celery.pidbox, PSUBSCRIBE /0.celery.pidbox, PUBLISH celery-task-meta-x, "),
        (["-multi"], "NOPERM"),
    ],
)
def test_what_the_access_list_refuses_is_told_and_nothing_is_done(rights: list[str], missing: str) -> None:
    with redis_server() as path:
        url = f"redis+socket://{path}?virtual_host=0"
        with connect(url) as connection:
            connection.call("ACL", "SETUSER", "default", *rights)
            told = server_facts(plan(url))[1]
            assert isinstance(told, Refusal)
            assert f"does not let the fleet's user do all that it needs: {missing}" in told
            assert connection.call("DBSIZE") == 0


def test_commands_of_claiming_that_are_refused_are_told() -> None:
    with redis_server() as path:
        url = f"redis+socket://{path}?virtual_host=0"
        assert lacking(url) == ()
        with connect(url) as connection:
            connection.call("ACL", "SETUSER", "default", "-@scripting", "-time", "-client|tracking")
        assert lacking(url) == ("EVALSHA", "SCRIPT LOAD", "TIME", "CLIENT TRACKING")


def test_keys_of_claiming_that_are_refused_are_told() -> None:
    with redis_server() as path:
        url = f"redis+socket://{path}?virtual_host=0"
        with connect(url) as connection:
            connection.call("ACL", "SETUSER", "default", "resetkeys", "~default*", "~unacked*")
        assert lacking(url) == ("EVALSHA",)


def lacking(url: str) -> tuple[str, ...]:
    server, _ = server_facts(plan(url))
    assert server is not None
    return server.lacking


def test_an_older_redis_tells_maxclients_in_its_configuration_alone() -> None:
    assert server_of({"maxmemory": "0"}, [b"maxclients", b"128"]) == Server(128, 0, None)
    assert server_of({"maxclients": "64", "maxmemory_policy": "noeviction"}, []) == Server(64, None, "noeviction")


@pytest.mark.parametrize("url", ["amqp://h", "embedded", "sqs://"])
def test_a_broker_that_has_nothing_to_tell_is_not_asked(url: str) -> None:
    assert server_facts(plan(url)) == (None, "")

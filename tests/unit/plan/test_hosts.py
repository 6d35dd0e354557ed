"""Which part of a plan runs on which host, and how fleet.yaml says so."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from celeryfleet.errors import FleetError
from celeryfleet.plan.build import build, placed
from celeryfleet.plan.values import Plan
from tests.unit.plan.fleets import FACTS, fleet_of

FLEET = """
queues: {default: , video: }
pools:
  web: {queues: [default]}
  video: {queues: [video], replicas: 2}
beat: true
hosts:
  a: [web, beat]
  b:
    pools: [video]
    replicas: {video: 4}
"""


def plan_on(host: str, text: str = FLEET) -> Plan:
    fleet = fleet_of(text)
    return placed(fleet, build(fleet, replace(FACTS, host=host)))


def test_each_host_runs_its_pools_with_its_own_numbers_and_node_names() -> None:
    a, b = plan_on("a"), plan_on("b")
    assert ([pool.name for pool in a.pools], a.beat is not None) == (["web"], True)
    assert ([(pool.name, pool.replicas) for pool in b.pools], b.beat) == ([("video", 4)], None)
    assert b.worker(b.pools[0], 1).node == "video-1@shop.b"
    assert a.hosts == {"a": ["default"], "b": ["video"]}
    assert Plan.from_json(json.loads(json.dumps(b.to_json()))) == b


def test_a_host_that_is_not_named_is_told_which_are() -> None:
    with pytest.raises(FleetError) as error:
        plan_on("vm7")
    problem = error.value.problems[0]
    assert problem.what == 'fleet.yaml names no host "vm7".'
    assert problem.hint.startswith("The hosts are a and b. This one goes by vm7: say which it is with --host")
    assert problem.where.endswith(":7:1")


def test_without_hosts_everything_runs_anywhere() -> None:
    assert [pool.name for pool in plan_on("vm7", FLEET.partition("hosts:")[0]).pools] == ["web", "video"]


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ("{a: [wbe]}", 'host "a" runs the unknown pool "wbe". Did you mean "web"?'),
        (
            "{a: [web, web]}",
            'host "a" names the pool "web" twice. Name it once; `replicas` says how many workers it has.',
        ),
        ("{a: {pools: [web], replicas: {video: 2}}}", 'host "a" has replicas of "video", which is none of its pools.'),
        ("{a: {pools: [beat], replicas: {beat: 2}}}", 'host "a" has replicas of beat. Beat is one.'),
        ("{a: {replicas: {}}}", 'host "a" lacks the key "pools". Write pools: [web]'),
        ("{a: web}", 'host "a" must be a mapping, but it is web.'),
        ("{-a: [web]}", 'host "-a": the name may hold letters'),
    ],
)
def test_what_is_wrong_with_hosts_is_said_with_its_place(hosts: str, said: str) -> None:
    with pytest.raises(FleetError) as error:
        fleet_of(FLEET.partition("hosts:")[0] + f"hosts: {hosts}\n")
    (problem,) = error.value.problems
    assert f"{problem.what} {problem.hint}".startswith(said)
    assert problem.where.startswith("/srv/shop/fleet.yaml:7:")

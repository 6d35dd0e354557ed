"""One fleet of a name on one broker: real locks, of which another process's are gone when it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from celeryfleet.errors import Exit, FleetError
from celeryfleet.fleetfile.load import parse
from celeryfleet.plan.build import build
from celeryfleet.plan.values import Plan
from celeryfleet.supervise.namesake import Claim
from tests.unit.plan.fleets import FACTS, fleet_text

#: takes the plan of its standard input and ends without letting go of it, as if killed
_TAKE = """
import json, os, sys
from celeryfleet.plan.values import Plan
from celeryfleet.supervise.namesake import Claim
Claim().take(Plan.from_json(json.load(sys.stdin)))
os._exit(9)
"""


@pytest.fixture
def name() -> str:
    return f"shop-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def claims() -> Iterator[tuple[Claim, Claim]]:
    """Give the claims of two supervisors."""
    both = Claim(), Claim()
    yield both
    for claim in both:
        claim.release()


def plan(name: str, folder: str = "/srv/a", broker: str = "redis://h") -> Plan:
    return build(parse(fleet_text(name=name, broker=broker), f"{folder}/fleet.yaml", {}), FACTS)


def test_a_second_fleet_of_the_name_is_refused_with_what_to_do(name: str, claims: tuple[Claim, Claim]) -> None:
    first, second = claims
    first.take(plan(name))
    with pytest.raises(FleetError) as caught:
        second.take(plan(name, "/srv/b"))
    assert str(caught.value) == (
        f'a fleet named "{name}" runs on this broker already, from /srv/a/fleet.yaml. '
        "Stop it with `celeryfleet -f /srv/a/fleet.yaml down`, or give this one another `name:`."
    )
    assert caught.value.code == Exit.NOT_READY


def test_what_was_let_go_of_can_be_claimed(name: str, claims: tuple[Claim, Claim]) -> None:
    first, second = claims
    first.take(plan(name))
    first.release()
    first.release()
    second.take(plan(name, "/srv/b"))
    with pytest.raises(FleetError, match=r"from /srv/b/fleet\.yaml"):
        first.take(plan(name))


def test_what_a_dead_supervisor_had_can_be_claimed(name: str, claims: tuple[Claim, Claim]) -> None:
    document = json.dumps(plan(name).to_json(), default=vars)
    done = subprocess.run([sys.executable, "-c", _TAKE], input=document, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (9, "")
    first, second = claims
    first.take(plan(name, "/srv/b"))
    with pytest.raises(FleetError, match=r"from /srv/b/fleet\.yaml"):
        second.take(plan(name))


@pytest.mark.parametrize("broker", ["redis://other", "redis://h/1"])
def test_on_another_broker_the_name_is_free(name: str, claims: tuple[Claim, Claim], broker: str) -> None:
    first, second = claims
    first.take(plan(name))
    second.take(plan(name, "/srv/b", broker))


def test_an_embedded_broker_is_the_fleet_s_own(name: str, claims: tuple[Claim, Claim]) -> None:
    first, second = claims
    first.take(plan(name, "/srv/a", "embedded"))
    second.take(plan(name, "/srv/b", "embedded"))


def test_a_fleet_that_changes_its_name_lets_go_of_the_former_one(name: str, claims: tuple[Claim, Claim]) -> None:
    first, second = claims
    first.take(plan(name))
    first.take(plan(f"{name}-2"))
    second.take(plan(name, "/srv/b"))
    with pytest.raises(FleetError):
        second.take(plan(f"{name}-2", "/srv/b"))
    with pytest.raises(FleetError, match=r"from /srv/b/fleet\.yaml"):
        first.take(plan(name))  # the claim that was refused a name still has its own

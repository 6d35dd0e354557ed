"""Texts that are one great repetition: reading them takes time in proportion to their length, not to its square."""

from __future__ import annotations

import pytest

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile import dotenv
from celeryfleet.fleetfile.load import parse
from celeryfleet.importers.document import Ask
from celeryfleet.importers.formats import convert
from tests.fuzz import TARGETS, bounded
from tests.unit.plan.fleets import fleet_text

pytestmark = pytest.mark.slow

MANY = 200_000


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("w: " + "a#" * MANY, id="number signs within words"),
        pytest.param("[program:a]\nx" + " " * MANY + "y\ncommand=celery -A shop worker", id="spaces in a line"),
        pytest.param(f"w: celery -A shop worker -n {'9' * MANY}x@h", id="digits in a node"),
        pytest.param(f"w: celery -A shop worker -n {'${' * MANY}@h", id="variables in a node"),
        pytest.param(f"w: X=://{'a' * MANY} celery -A shop worker", id="an URL without a host"),
        pytest.param("celery multi start 3 " + "-Q a " * 40_000, id="a great many words of a command"),
        pytest.param("V=2\n" + "=2\n" * 66_000, id="a great many commands"),
        pytest.param("celery m" + "<x" * 200_000, id="a great many redirections of a command"),
        pytest.param("celery -A shop beat\n" + "=2\n" * 66_000, id="a great many commands beside Celery's"),
    ],
)
def test_a_file_to_import(text: str) -> None:
    with bounded():
        TARGETS["import"].read(text)


def test_a_procfile_of_many_names() -> None:
    with bounded():
        convert(
            "".join(f"p{number}: a\n" for number in range(40_000)) + "w: celery -A shop worker", Ask("procfile", "F")
        )


def test_an_env_file_with_a_quote_that_is_never_closed() -> None:
    with bounded():
        found, problems = dotenv.parse('A="' + "x\n" * MANY, ".env")
    assert (found, len(problems)) == ({}, 1)
    assert dotenv.parse('A="x\n\ny" # z\nB=2', ".env") == ({"A": "x\n\ny", "B": "2"}, [])


def test_variables_that_blow_a_text_up_are_refused() -> None:
    routes = [{"task": "${A}" * 1000, "queue": "video"}, {"task": "${A}", "queue": "video"}] * 100
    with bounded(), pytest.raises(FleetError, match="is too large with its variables replaced"):
        parse(fleet_text(routes=routes), "fleet.yaml", {"A": "a" * 100_000})

"""`${VAR}` and its forms."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.load import parse
from celeryfleet.fleetfile.variables import VariableError, interpolate

VARIABLES = {"A": "a", "EMPTY": "", "N": "3", "D": "$A ${A}"}
SET = "Set it in the environment or in an env_file, or write ${NONE:-default}."
FORMS = "Write ${VAR}, ${VAR:-default}, ${VAR-default} or ${VAR:?message}, and $$ for a dollar."


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "a"),
        ("x${A}y${A}", "xaya"),
        ("${EMPTY}", ""),
        ("${NO:-default}", "default"),
        ("${NO-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY-default}", ""),
        ("${A:-default}", "a"),
        ("${NO:-}", ""),
        ("${NO:-${A}}", "a"),
        ("${NO:-x${ALSO:-y${A}}z}", "xyaz"),
        ("${A:?needed}", "a"),
        ("${EMPTY?needed}", ""),
        ("${A:-${NO}}", "a"),
        ("${A:-${NO:?needed}}", "a"),
        ("$${A}", "${A}"),
        ("$$", "$"),
        ("$$$$", "$$"),
        ("$A and a lone $", "$A and a lone $"),
        ("order$|^x}", "order$|^x}"),
        ("${D}", "$A ${A}"),
    ],
)
def test_a_variable_is_replaced(text: str, value: str) -> None:
    assert interpolate(text, VARIABLES) == value


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("${NONE}", "needs the variable NONE, which is not set", SET),
        ("${NO:?say where}", "needs the variable NO: say where", ""),
        ("${EMPTY:?}", "needs the variable EMPTY", ""),
        ("${", "holds a ${ that no variable's name follows", FORMS),
        ("${A", "holds a ${ that is not closed", FORMS),
        ("${A:-x", "holds a ${ that is not closed", FORMS),
        ("${A b}", "holds a form of ${A…} that is unknown", FORMS),
        ("${A:+b}", "holds a form of ${A…} that is unknown", FORMS),
        ("${1}", "holds a ${ that no variable's name follows", FORMS),
        ("${N:-" * 20, "nests ${…} more than 10 levels deep", ""),
    ],
)
def test_what_cannot_be_replaced_says_why(text: str, said: str, hint: str) -> None:
    with pytest.raises(VariableError) as caught:
        interpolate(text, VARIABLES)
    assert (str(caught.value), caught.value.hint) == (said, hint)


@given(st.text())
def test_a_text_with_its_dollars_doubled_is_itself(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}) == text


@given(st.text())
def test_a_value_is_not_interpolated_again(value: str) -> None:
    assert interpolate("<${V}|${V:-x}>", {"V": value}) == f"<{value}|{value or 'x'}>"


@given(st.text(alphabet="${}:-?A b"))
def test_any_text_is_replaced_or_refused(text: str) -> None:
    with suppress(VariableError):
        assert "A}" not in interpolate(text, {"A": "a"}) or "A}" in text


def test_a_variable_is_typed_where_a_number_is_wanted_and_text_where_text_is() -> None:
    text = """\
queues: {a: , "3": }
celery: {task_acks_late: "${FLAG}", broker_pool_limit: "${N}", timezone: "${N}", result_expires: "${N}"}
pools:
  web: {queues: [a, "${N}"], concurrency: "${N:-2}", events: "${FLAG}", time_limit: "${N}m", env: {N: "${N}"}}
  api:
    queues: [a]
    concurrency: ${NO:-2}
"""
    fleet = parse(text, "fleet.yaml", {"N": "3", "FLAG": "yes"})
    assert fleet.celery == {"task_acks_late": True, "broker_pool_limit": 3, "timezone": "3", "result_expires": 3}
    web = fleet.pools["web"]
    assert (web.queues, web.concurrency, web.events, web.time_limit, web.env) == (("a", "3"), 3, True, 180, {"N": "3"})
    assert fleet.pools["api"].concurrency == 2


def test_a_variable_that_is_missing_has_a_place_and_a_hint() -> None:
    with pytest.raises(FleetError) as caught:
        parse("queues: {a: }\npools: {web: {queues: [a, '${QUEU}']}}\n", "fleet.yaml", {"QUEUE": "a"})
    assert str(caught.value) == (
        'fleet.yaml:2:27: item 2 of queues of pool "web" needs the variable QUEU, which is not set. '
        'Did you mean "QUEUE"? Set it in the environment or in an env_file, or write ${QUEU:-default}.'
    )


def test_keys_are_never_interpolated() -> None:
    assert list(parse("queues: {'${A}': }\n", "fleet.yaml", {"A": "b"}).queues) == ["${A}"]

from __future__ import annotations

from typing import Any

import pytest

from celeryfleet.client.expression import Names, parse
from celeryfleet.client.options import headers, read_headers
from celeryfleet.client.signatures import leaves, set_options
from celeryfleet.client.values import ComplaintError
from celeryfleet.errors import FleetError

NAMES = Names(["shop.add"], {"plus": "shop.add"})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("tenant=acme", "headers is a mapping, not a text."),
        ({"": 1}, "A header has a name, which is a text."),
        ({"root_id": "x"}, 'The header "root_id" is one of Celery\'s own.'),
        ({"tenant": (1, 2)}, 'The header "tenant" is a text, a number, true or false.'),
        ({"tenant": float("inf")}, 'The header "tenant" cannot be sent: inf is no number there.'),
        ({"tenant": 2**63}, 'The header "tenant" cannot be sent: it is a number of more than 64 bits.'),
        ({"é" * 128: 1}, f'The header "{"é" * 40}" cannot be sent: its name has more than 255 bytes.'),
    ],
)
def test_headers_that_cannot_be_are_refused(value: Any, said: str) -> None:
    with pytest.raises(ComplaintError, match="^" + said.replace(".", r"\.")):
        headers(value)


def test_a_header_is_a_name_and_a_text_that_may_have_equals_signs() -> None:
    assert read_headers(["query=a=b", "empty="]) == {"query": "a=b", "empty": ""}
    for word in ("tenant", "=acme", "id=3"):
        with pytest.raises(ComplaintError):
            read_headers([word])


def test_a_step_s_own_headers_are_kept_beside_those_of_all_steps() -> None:
    step = parse("chain(plus.s(1, 2).set(headers={'own': 1, 'both': 1}), plus.s(3))", NAMES).step
    set_options(step, {"headers": {"both": 2}})
    assert [leaf.options["headers"] for leaf in leaves(step)] == [{"own": 1, "both": 2}, {"both": 2}]


def test_a_wrong_header_in_an_expression_is_placed() -> None:
    with pytest.raises(FleetError) as caught:
        parse("plus.s(1, 2).set(headers={'id': 'x'})", NAMES)
    assert 'The header "id" is one of Celery\'s own.' in str(caught.value)
    assert ":1:18" in str(caught.value)

from __future__ import annotations

import pytest

from celeryfleet.client.names import resolve_name, short_names
from celeryfleet.errors import FleetError

REGISTERED = ["shop.math.add", "shop.stock.add", "shop.math.mul", "mail:send", "badd"]
GONE = """"gone" stands for the task shop.math.gone, which is not registered. \
Did you mean "shop.math.mul"? `celeryfleet tasks` lists the registered ones."""
ALIASES = {"plus": "shop.math.add", "mul": "shop.stock.add", "gone": "shop.math.gone"}


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("shop.math.add", "shop.math.add"),
        ("math.add", "shop.math.add"),
        ("plus", "shop.math.add"),
        ("mul", "shop.stock.add"),
        ("math.mul", "shop.math.mul"),
        ("send", "mail:send"),
    ],
)
def test_a_name_stands_for_an_alias_then_itself_then_an_end(name: str, full: str) -> None:
    assert resolve_name(name, REGISTERED, ALIASES) == full


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("add", '"add" is the end of 2 tasks. Say which: shop.math.add, shop.stock.add.'),
        ("sned", 'No task is called "sned". Did you mean "send"? `celeryfleet tasks` lists the registered ones.'),
        ("zzz", 'No task is called "zzz". `celeryfleet tasks` lists the registered ones.'),
        ("gone", GONE),
    ],
)
def test_any_other_name_is_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(FleetError) as caught:
        resolve_name(name, REGISTERED, ALIASES)
    assert str(caught.value) == message


def test_force_lets_an_unknown_name_pass_but_not_an_ambiguous_one() -> None:
    assert resolve_name("elsewhere.task", REGISTERED, ALIASES, force=True) == "elsewhere.task"
    assert resolve_name("gone", REGISTERED, ALIASES, force=True) == "shop.math.gone"
    with pytest.raises(FleetError, match="end of 2 tasks"):
        resolve_name("add", REGISTERED, ALIASES, force=True)


def test_a_short_name_is_no_shorter_than_it_can_be_and_leads_back() -> None:
    short = short_names(REGISTERED)
    assert short["shop.math.add"] == "math.add"
    assert short["shop.math.mul"] == "mul"
    assert all(resolve_name(name, REGISTERED, {}) == full for full, name in short.items())

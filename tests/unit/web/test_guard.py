"""Who may look and who may act, decided of a request's headers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celeryfleet.web import token
from celeryfleet.web.guard import Rights, Rules, refusal, rights

TOKEN = "a token of the tests"
RULES = Rules(fleet="shop", token=TOKEN)
HOST = {"host": "127.0.0.1:5580"}
PAGE = {**HOST, "origin": "http://127.0.0.1:5580", "content-type": "application/json"}
ALL = Rights(look=True, act=True)
NOW = 1_700_000_000.0


def status(path: str, headers: dict[str, str], may: Rights = ALL, rules: Rules = RULES, method: str = "GET") -> int:
    found = refusal(rules, method, path, headers, may)
    return found[0] if found else 200


@pytest.mark.parametrize("host", ["localhost", "localhost:5580", "127.0.0.1", "[::1]:5580", "192.168.1.7:80"])
def test_addresses_and_localhost_are_names_that_nobody_can_rebind(host: str) -> None:
    assert status("/", {"host": host}) == 200


@pytest.mark.parametrize("host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "a b", "[:"])
def test_any_other_name_is_refused(host: str) -> None:
    assert status("/", {"host": host}) == 421
    assert status("/healthz", {"host": host}) == 200, "a probe asks by the address of its pod, or by any name"


def test_a_name_that_was_said_is_known_with_any_port_or_with_its_own() -> None:
    rules = replace(RULES, hosts=frozenset(["fleet.example", "shop.example:8443"]))
    assert status("/", {"host": "Fleet.Example:99"}, rules=rules) == 200
    assert status("/", {"host": "shop.example:8443"}, rules=rules) == 200
    assert status("/", {"host": "shop.example"}, rules=rules) == 421


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (PAGE, 200),
        ({**PAGE, "origin": "http://127.0.0.1:3000"}, 403),
        ({**PAGE, "origin": "null"}, 403),
        ({**PAGE, "sec-fetch-site": "same-site"}, 403),
        ({**PAGE, "content-type": "text/plain"}, 415),
        ({name: PAGE[name] for name in ("host", "content-type")}, 403),
        ({**HOST, "content-type": "application/json", "authorization": "Bearer x"}, 200),
        ({**PAGE, "origin": "http://evil.example", "authorization": "Bearer x"}, 403),
    ],
)
def test_what_changes_something_must_come_from_the_page_itself(headers: dict[str, str], expected: int) -> None:
    assert status("/api/scale", headers, method="POST") == expected


def test_behind_a_proxy_that_hides_the_name_the_said_one_is_ours() -> None:
    rules = replace(RULES, hosts=frozenset(["fleet.example"]))
    assert status("/api/scale", {**PAGE, "origin": "https://fleet.example"}, rules=rules, method="POST") == 200


def test_another_site_may_not_keep_the_fleet_watched() -> None:
    assert status("/api/events", {**HOST, "sec-fetch-site": "cross-site"}) == 403


@pytest.mark.parametrize(
    ("headers", "ours", "expected"),
    [
        (HOST, True, Rights(look=True, act=False)),
        (HOST, False, Rights(look=False, act=False)),
        ({"host": "fleet.example"}, True, Rights(look=False, act=False)),
        ({**HOST, "x-forwarded-for": "10.0.0.1"}, True, Rights(look=False, act=False)),
        ({**HOST, "authorization": f"Bearer {TOKEN}"}, False, ALL),
        ({**HOST, "authorization": "Bearer another one, as long"}, False, Rights(look=False, act=False)),
        ({**HOST, "authorization": "Bearer tökén"}, False, Rights(look=False, act=False)),
        ({**HOST, "cookie": f"a=b; celeryfleet-shop={token.cookie(TOKEN, NOW - 60)}"}, False, ALL),
        (
            {**HOST, "cookie": f'of="another app"; {{"a": "b c"}}; celeryfleet-shop={token.cookie(TOKEN, NOW)}'},
            False,
            ALL,
        ),
        ({**HOST, "cookie": f"celeryfleet-shop={token.cookie(TOKEN, NOW - 86_400)}"}, False, Rights(False, False)),
        ({**HOST, "cookie": f"celeryfleet-shop={token.cookie('another token', NOW)}"}, False, Rights(False, False)),
        ({**HOST, "cookie": "celeryfleet-shop=9999999999.; ="}, False, Rights(False, False)),
    ],
)
def test_looking_is_free_for_the_user_of_this_machine_alone(
    headers: dict[str, str], ours: bool, expected: Rights
) -> None:
    assert rights(RULES, headers, lambda: ours, NOW) == expected


def test_beyond_this_machine_looking_takes_the_token_and_read_only_never_acts() -> None:
    signed = {**HOST, "authorization": f"Bearer {TOKEN}"}
    assert rights(replace(RULES, local=False), HOST, lambda: True, NOW) == Rights(look=False, act=False)
    assert rights(replace(RULES, read_only=True), signed, lambda: True, NOW) == Rights(look=True, act=False)
    nobody = Rights(look=False, act=False)
    assert [status(path, HOST, nobody) for path in ("/", "/app.js", "/metrics")] == [200, 200, 200]
    assert [status(path, HOST, nobody) for path in ("/api/events", "/api/task")] == [401, 401]
    looker = Rights(look=True, act=False)
    assert status("/api/scale", PAGE, looker, method="POST") == 401
    assert status("/api/scale", PAGE, looker, replace(RULES, read_only=True), "POST") == 403


def test_the_token_is_not_shown_with_the_rules() -> None:
    assert TOKEN not in repr(RULES)

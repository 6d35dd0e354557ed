"""The page's server before a fleet that is made up: what it answers to odd requests, and to what tasks say."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from celeryfleet.cli.page import Page
from celeryfleet.client.messages import Message
from celeryfleet.errors import FleetError
from celeryfleet.web import documents
from celeryfleet.web.app import application
from celeryfleet.web.fleet import Fleet
from celeryfleet.web.guard import Rules
from celeryfleet.web.live import Live
from celeryfleet.web.metrics import Metrics
from tests.unit.shown import pool, reply

TOKEN = "a token of the tests"
Ask = Callable[..., httpx.Response]


def broken(_: Mapping[str, Any]) -> dict[str, Any]:
    raise sqlite3.DatabaseError("database disk image is malformed")


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Ask a page, with the token, of a fleet whose looks and actions fail, or say what no UTF-8 can."""
    fleet = Fleet(
        status=lambda: reply(pool("web", 0)),
        look=lambda: pytest.fail("nobody looks"),
        logs=lambda of: pytest.fail("nobody looks"),
        looks={"half": lambda asked: {"said": "\ud800"}, "broken": broken},
        actions={"scale": lambda asked: None},
        ledger_file=str(tmp_path / "none"),
    )
    app = application(fleet, Rules("shop", TOKEN), Live(fleet), Metrics(fleet.status, fleet.ledger_file))

    async def asked(method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), headers=headers) as client:
            return await client.request(method, f"http://127.0.0.1:5580{path}", **more)

    return lambda *args, **more: asyncio.run(asked(*args, **more))


def test_arguments_that_no_json_or_utf_8_can_hold_do_not_hide_the_queue_or_the_task() -> None:
    body = b'[[NaN, "\\ud800"], {"most": Infinity}, {}]'
    found = Message.of({"id": "1", "task": "add"}, body, "application/json", None)
    told = documents.message(found, 0.0)
    assert told["call"] == "add(nan, '\\ud800', most=inf)"
    json.dumps(told, allow_nan=False)


def test_what_a_task_says_in_half_a_character_is_still_told(ask: Ask) -> None:
    assert ask("GET", "/api/half").json() == {"said": "\ud800"}


def test_a_ledger_that_is_broken_is_named(ask: Ask) -> None:
    found = ask("GET", "/api/broken")
    assert (found.status_code, found.json()["error"][:26]) == (503, "the ledger cannot be read:")


def test_a_stream_has_an_end_where_only_its_head_is_asked_for(ask: Ask) -> None:
    for path in ("/api/events", "/api/log"):
        found = ask("HEAD", path)
        assert (found.status_code, found.content) == (200, b"")


def test_a_request_that_is_too_long_is_refused_as_that(ask: Ask) -> None:
    assert ask("POST", "/api/do/scale", json={"pool": "x" * 70_000}).status_code == 413
    assert ask("POST", "/api/do/scale", json={"pool": "x"}).json() == {"done": True}


def test_a_page_that_there_is_not_is_told_with_the_headers_of_all_others(ask: Ask) -> None:
    for path in ("/nothing", "/../app.py", "/..%2fapp.py", "//etc/passwd", "/api/nothing"):
        found = ask("GET", path)
        assert found.status_code == 404, path
        assert found.headers["x-content-type-options"] == "nosniff"
    assert ask("GET", "/").text.startswith("<!doctype html>")
    assert ask("POST", "/", json={}).status_code == 405


@pytest.mark.parametrize("hours", [-1, 1.5, True, "nan", 10**30, [1]])
def test_a_number_that_is_none_or_too_large_is_told(hours: object) -> None:
    with pytest.raises(FleetError, match="hours is a whole number from 0 on"):
        Page.retry(object.__new__(Page), {"hours": hours})

"""docs/routing.md shows what the command really prints."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from celeryfleet.app.routers import UserRouter
from celeryfleet.plan.build import build
from celeryfleet.routing.resolve import resolve
from tests import ROOT
from tests.unit.plan.fleets import FACTS, fleet_of

TEXT = (ROOT / "docs" / "routing.md").read_text("utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found
    return found[1]


def commands() -> list[tuple[str, str]]:
    """Return each command with what the document says it prints."""
    _, *parts = block("console").split("$ ")
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]


@pytest.mark.parametrize(("command", "printed"), commands())
def test_the_commands_print_what_is_shown(tmp_path: Path, command: str, printed: str) -> None:
    (tmp_path / "fleet.yaml").write_text(block("yaml"))
    (tmp_path / "routing.py").write_text(block("python"))
    (tmp_path / "shop.py").write_text("from celery import Celery\napp = Celery('shop')\n")
    words = shlex.split(command)[1:]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "celeryfleet", *words],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "COLUMNS"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == printed, done.stderr


@pytest.mark.parametrize(
    ("task", "queues"),
    [
        ("shop.video.encode", ("video",)),
        ("shop.video.x.y", ("video",)),
        ("shop.mail3x", ("default",)),
        ("shop.sms.send", ("mail",)),
        ("shop.sms.", ("default",)),
        ("shop.order.paid", ("orders", "audit")),
        ("mail:a:b", ("mail",)),
        ("nobody:a", ("default",)),
        ("shop.film", ("default",)),
    ],
)
def test_the_routes_lead_where_their_comments_say(task: str, queues: tuple[str, ...]) -> None:
    fleet = fleet_of(block("yaml"))
    assert resolve(fleet, build(fleet, FACTS).routing, task).queues == queues


def test_the_function_that_is_shown_is_a_router(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "routing_of_the_document.py").write_text(block("python"))
    monkeypatch.syspath_prepend(str(tmp_path))
    ask = UserRouter("routing_of_the_document.by_customer")
    assert ask("shop.mail", (), {"customer": "Bob"}) == {"queue": "mail"}
    assert ask("shop.mail", (), {}) is None

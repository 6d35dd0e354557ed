"""Alerts of a real fleet, told to a server that really listens."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from tests.e2e.conftest import Home
from tests.fakes import eventually
from tests.hooks import NEVER, Hook

FLEET = """
name: shop
app: shop
env_file: [.env]
queues: {default: , mail: }
pools:
  web: {queues: [default], restart: {max_restarts: 0}}
alerts:
  - {when: worker_failed, webhook: "${HOOK}/failed"}
  - {when: oldest_age, queue: mail, over: 100ms, webhook: "${HOOK}/age", format: slack}
"""


def start(home: Home, url: str, fleet: str = FLEET) -> int:
    """Start the fleet; return the pid of its supervisor."""
    (home.path / ".env").write_text(f"HOOK={url}\n")
    home.write(fleet).up()
    return int(home.status()["supervisor"]["pid"])


def told(hook: Hook, path: str) -> list[Any]:
    """Return what was sent there."""
    return [json.loads(body) for at, _, body in hook.got if at == f"/secret/{path}"]


def test_an_alert_is_told_once_when_it_begins_and_once_when_it_is_over_also_after_a_kill(home: Home) -> None:
    hook = Hook(500)
    with hook.served() as url:
        supervisor = start(home, url)
        os.kill(home.pid("web-1"), signal.SIGKILL)
        eventually(lambda: len(hook.got) == 2)  # the first one was answered by 500
        assert hook.got[0] == hook.got[1]
        assert "! Alerts: worker web-1 is failed: " in home.run("status").stdout
        shown, body = home.status()["alerts"], json.loads(hook.got[1][2])
        assert shown == [{key: body[key] for key in ("alert", "what", "text", "since")}]
        eventually((home.path / ".celeryfleet/shop/alerts.json").exists)
        os.kill(supervisor, signal.SIGKILL)
        home.up()
        eventually(lambda: len(hook.got) == 3)
        assert "alerts" not in home.status()
        home.post("add", "1", "2", "--queue", "mail", "--force")
        eventually(lambda: len(hook.got) == 4)
        home.run("queues", "purge", "mail", "-y")
        eventually(lambda: len(hook.got) == 5)
        log = home.log()
    failed, age = told(hook, "failed")[1:], told(hook, "age")
    assert [(one["state"], one["alert"], one["what"], one["fleet"]) for one in failed] == [
        ("begins", "worker_failed", "worker web-1", "shop"),
        ("over", "worker_failed", "worker web-1", "shop"),
    ]
    assert failed[0]["since"] == failed[1]["since"]
    assert [one["text"].partition(" ")[0] for one in age] == [":red_circle:", ":large_green_circle:"]
    assert "alert worker_failed of worker web-1: told: the webhook answered 204" in log
    assert "secret" not in log


def test_a_notice_that_a_kill_of_the_supervisor_cut_off_is_told_once_more_under_its_id_and_that_it_is_over(
    home: Home,
) -> None:
    hook = Hook(NEVER)
    with hook.served() as url:
        supervisor = start(home, url)
        os.kill(home.pid("web-1"), signal.SIGKILL)
        eventually(lambda: len(hook.got) == 1)  # it may be known there, though it is not answered
        os.kill(supervisor, signal.SIGKILL)
        home.up()  # with a web-1 that is well: nobody was told that it is over
        eventually(lambda: len(hook.got) == 3)
    begins, again, over = told(hook, "failed")
    assert again == {**begins, "at": again["at"]}
    assert (begins["state"], over["state"]) == ("begins", "over")
    assert begins["id"] != over["id"]
    assert hook.ids == [begins["id"], begins["id"], over["id"]]


def test_a_reload_tells_again_only_what_it_changes(home: Home) -> None:
    hook = Hook()
    with hook.served() as url:
        start(home, url)
        os.kill(home.pid("web-1"), signal.SIGKILL)
        home.post("add", "1", "2", "--queue", "mail", "--force")
        eventually(lambda: len(hook.got) == 2)
        more = FLEET.replace("mail: }", "mail: , low: }").replace("alerts:", "  low: {queues: [low]}\nalerts:")
        home.write(more.replace("queue: mail, over: 100ms", "queue: mail, over: 1ms"))
        home.run("reload")
        eventually(lambda: len(told(hook, "age")) == 3)
        assert [one["text"].partition(" ")[0] for one in told(hook, "age")] == [
            ":red_circle:",
            ":large_green_circle:",
            ":red_circle:",
        ]
        states = [one["state"] for one in told(hook, "failed")]
        assert states.count("begins") == 1  # it may be over: a reload starts a failed worker again

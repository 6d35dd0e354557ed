"""What a host tells of its ledger, and what is believed of another's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from celeryfleet.client.again import refusal
from celeryfleet.errors import FleetError
from celeryfleet.hosts.messages import Answer, FindTasks, Known, Remote
from celeryfleet.hosts.tasks import ended, entries, known
from celeryfleet.ledger.entry import TOLD
from celeryfleet.ledger.store import Store
from celeryfleet.records import encode, parse


def told(task_id: str, state: str, **more: object) -> tuple[object, ...]:
    now = int(time.time() * 1000)
    values = {"id": task_id, "task": "shop.encode", "queue": "video", "state": state, "sent": now, "received": now}
    values |= {"started": now, "ended": None, "runtime": None, "pid": 7, "retries": 0, "max_retries": 3, "eta": None}
    return tuple(({"late": 0, **values} | more).get(name) for name in TOLD)


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    file = str(tmp_path / "ledger.sqlite")
    one = told("one", "running", message='{"args": ["secret"], "hidden": false}')
    two = told("two", "failed", ended=int(time.time() * 1000), error="x" * 9000, traceback="secret")
    store = Store(file, 3600.0, 1_000_000)
    assert store.write([("video-1", [list(one)]), ("video-2", [list(two)])]) == 0
    store.close()
    return file


def test_tasks_are_told_by_id_or_state_without_their_arguments(ledger: str) -> None:
    found = known(ledger, FindTasks(id="tw"))
    answer = parse(Answer, encode(found))
    (two,), (one,) = entries(answer.tasks, "b"), entries(answer.running, "b")
    assert (one.id, one.worker, one.state) == ("one", "video-1@b", "running")
    assert (two.id, two.worker, len(two.error or "")) == ("two", "video-2@b", 2000)
    # It was said that b sends it again, which b then could not.
    assert refusal(two, again=False).startswith("its message was not kept")
    assert not refusal(one, again=False)
    assert b"secret" not in encode(found)
    assert [row[1] for row in known(ledger, FindTasks(state="running")).tasks] == ["one"]
    assert [row[1] for row in known(ledger, FindTasks(state="failed", task="shop.*")).tasks] == ["two"]


def test_what_has_ended_is_told_in_few_words_beside_what_is_held(ledger: str) -> None:
    answer = parse(Answer, encode(known(ledger, FindTasks(state="ended"))))
    (two,), (one,) = ended(answer.ended), entries(answer.tasks, "b")
    assert (*two[:2], one.id) == ("shop.encode", "video", "one")
    assert ended([(*two[:2], "now", 1.0), (*two, 1), (), ("x", "video", 5, None)]) == [("x", "video", 5, None)]
    assert known(ledger, FindTasks(state="ended", since=time.time() + 60)).ended == ()


@pytest.mark.parametrize("asked", [FindTasks(id="x" * 256), FindTasks(task="*a" * 5), FindTasks(task="x" * 256)])
def test_what_would_take_long_to_look_for_is_refused(ledger: str, asked: FindTasks) -> None:
    with pytest.raises(FleetError, match="too long"):
        known(ledger, asked)


def test_rows_that_are_none_are_left_out() -> None:
    good = ("web-1", *told("one", "running"), None)
    bad = [
        (),
        ("web-1",),
        (1, *good[1:]),
        (*good, 1),
        (*good[:2], 5, *good[3:]),
        (*good[:-1], 5),
        (*good[:-2], "no JSON", None),
    ]
    assert [one.id for one in entries([good, *bad], "b")] == ["one"]


@pytest.mark.parametrize("name", ["stop", "apply", "attach", "getplan", "getstatus", "showpage"])
def test_another_host_may_ask_for_nothing_that_stops_or_changes_the_fleet_or_shows_credentials(name: str) -> None:
    with pytest.raises(ValueError, match="there is no message"):
        parse(Remote, b'{"t": "%s"}' % name.encode())
    assert parse(Remote, b'{"t": "scale", "replicas": {"web": 2}}').replicas == {"web": 2}
    assert isinstance(Known(()), Known)

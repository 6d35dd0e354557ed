"""What `status` and `health` say of a running fleet: from a supervisor's reply, over a real socket, and a broker's."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from celeryfleet.cli.entry import _split
from celeryfleet.cli.lean import collect, document, health, without_broker
from celeryfleet.errors import FleetError
from celeryfleet.protocol import Backlog, Status
from celeryfleet.records import encode
from celeryfleet.supervise.control_client import Client
from tests.unit.shown import pool, queue, reply, worker


def test_the_json_is_what_its_schema_says_and_nothing_else() -> None:
    status = reply(pool("web", 2, worker("web-1"), worker("web-2", pid=3)))
    found = document(status.but(queues=(status.queues[0].but(ready=7, unacked=1, oldest_age_s=1.5),)))
    expected = {
        "schema_version": 1,
        "fleet": "shop",
        "state": "ready",
        "supervisor": {"pid": 1, "uptime_s": 3.2},
        "broker": {"url": "redis://:***@host:6379/0", "state": "up"},
        "pools": [
            {
                "name": "web",
                "queues": ["mail", "default"],
                "want": 2,
                "ready": 2,
                "workers": [
                    {
                        "name": f"web-{number}",
                        "node": f"web-{number}@shop.host",
                        "pid": number + 1,
                        "state": "ready",
                        "uptime_s": 3.0,
                        "restarts": 0,
                        "active": 0,
                        "processed": 12,
                        "failed": 0,
                        "rss_bytes": 52428800,
                        "last_exit": None,
                    }
                    for number in (1, 2)
                ],
            }
        ],
        "queues": [{"name": "mail", "ready": 7, "unacked": 1, "oldest_age_s": 1.5, "consumers": 2}],
    }
    assert found == expected
    # the order of the keys, too
    assert repr(found) == repr(expected)


def test_a_broker_that_cannot_be_reached_is_down_its_depths_unknown_and_the_fleet_degraded() -> None:
    found: Any = document(without_broker(reply(), "host:6379: nothing listens there"))
    assert (found["state"], found["broker"]["state"]) == ("degraded", "down")
    assert found["queues"] == [{"name": "mail", "ready": None, "unacked": None, "oldest_age_s": None, "consumers": 2}]
    assert document(without_broker(reply(state="stopping"), "gone"))["state"] == "stopping"


def test_no_credential_is_shown() -> None:
    assert "s3cret" not in repr(document(without_broker(reply(), "gone")))


# --- Over a socket ----------------------------------------------------------------------------------------


@contextmanager
def serving(path: Path, answer: bytes) -> Iterator[None]:
    """Answer whatever is asked on this socket with the same bytes."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=_serve, args=[listener, answer])
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(20)
            path.unlink()


def _serve(listener: socket.socket, answer: bytes) -> None:
    with contextlib.suppress(OSError):  # the test is over
        while True:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(4096):
                    connection.sendall(answer)


@contextmanager
def supervisor(folder: Path, status: Status) -> Iterator[Client]:
    """Answer a client with this status."""
    path = folder / "control.sock"
    with serving(path, encode(status)), Client(str(path), timeout=20) as client:
        yield client


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Backlog]:
    """Give a broker that answers PING, and knows no more."""
    with serving(tmp_path / "broker.sock", b"+PONG\r\n"):
        yield Backlog(f"redis+socket://{tmp_path}/broker.sock")


READY = pool("web", 1, worker("web-1"))
SHORT = pool("low", 2, worker("low-1"), worker("low-2", "backoff"))


@pytest.mark.parametrize(
    ("status", "asked", "expected"),
    [
        (reply(READY), "", (True, "shop is ready: 1 of 1 worker")),
        (reply(READY, pool("low", 0)), "low", (True, "low is ready: 0 of 0 workers")),
        (reply(READY, SHORT, state="degraded"), "web", (True, "web is ready: 1 of 1 worker")),
        (reply(READY, SHORT, state="degraded"), "low", (False, "low: 1 of 2 ready")),
        (reply(READY, SHORT, state="degraded"), "", (False, "low: 1 of 2 ready")),
        (reply(READY.but(reason="shop is stopping"), state="stopping"), "web", (False, "shop is stopping")),
    ],
)
def test_health_is_what_the_supervisor_says_where_the_broker_answers(
    tmp_path: Path, broker: Backlog, status: Status, asked: str, expected: tuple[bool, str]
) -> None:
    with supervisor(tmp_path, status.but(backlog=broker)) as client:
        assert health(client, asked) == expected


@pytest.mark.parametrize("asked", ["", "web"])
def test_health_and_status_agree_about_a_broker_that_is_down(tmp_path: Path, asked: str) -> None:
    status = reply(READY, backlog=Backlog(f"redis+socket://{tmp_path}/nowhere.sock"))
    with supervisor(tmp_path, status) as client:
        ready, why = health(client, asked)
        found = collect(client)
    assert not ready
    assert why.startswith("the broker cannot be reached: ")
    assert (found.state, found.reason, found.broker.state) == ("degraded", why, "down")


def test_the_health_of_an_unknown_pool_is_an_error(tmp_path: Path, broker: Backlog) -> None:
    with supervisor(tmp_path, reply(READY, SHORT, backlog=broker)) as client, pytest.raises(FleetError) as caught:
        health(client, "wbe")
    assert str(caught.value) == 'there is no pool "wbe". Did you mean "web"?'


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["health", "web"], ("", True, ["health", "web"])),
        (["-f", "a.yaml", "up", "-d"], ("a.yaml", True, ["up", "-d"])),
        (["--file", "a.yaml", "--profile", "x", "status"], ("a.yaml", False, ["status"])),
        (["--env-file", "up", "status"], ("", False, ["status"])),
        (["--file=a.yaml", "status"], ("", False, ["status"])),
        (["--version"], ("", False, [])),
        (["-f"], ("", True, [])),
        ([], ("", True, [])),
    ],
)
def test_the_words_before_a_command_are_told_from_the_command(argv: list[str], expected: object) -> None:
    assert _split(argv) == expected


# --- What it costs ----------------------------------------------------------------------------------------


def test_the_lean_path_imports_nothing_heavy(tmp_path: Path, broker: Backlog) -> None:
    heavy = {"asyncio", "celery", "dataclasses", "inspect", "kombu", "logging", "pydantic", "redis", "rich", "ssl"}
    heavy |= {"typer", "typing", "yaml"}
    script = "import sys; from celeryfleet.cli.entry import main\ntry: main()\nexcept SystemExit: print(*sys.modules)"
    (tmp_path / "fleet.yaml").touch()
    (tmp_path / ".celeryfleet").mkdir()
    (tmp_path / ".celeryfleet" / "fleet.yaml.sock").symlink_to(tmp_path / "control.sock")
    env = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    for words in (["health"], ["health", "web"], ["status"], ["ps"]):
        with serving(tmp_path / "control.sock", encode(reply(READY, queues=(), backlog=broker))):
            done = subprocess.run(
                [sys.executable, "-S", "-c", script, *words],
                cwd=tmp_path,
                env={**env, "PYTHONPATH": os.pathsep.join(sys.path)},
                capture_output=True,
                text=True,
                check=True,
            )
        assert ("ready" in done.stdout) or ("web-1" in done.stdout), done.stderr
        assert heavy.isdisjoint(done.stdout.splitlines()[-1].split()), words


def test_a_queue_that_is_not_known_shows_nothing() -> None:
    assert document(reply(queues=(queue("mail"),)), "queues")["queues"] == [
        {"name": "mail", "ready": None, "unacked": 0, "oldest_age_s": None, "consumers": 0}
    ]

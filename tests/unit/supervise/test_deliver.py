"""Telling somebody of an alert, with servers that are slow, dead, or say 500, and programs that hang."""

from __future__ import annotations

import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from celeryfleet.protocol import Delivery
from celeryfleet.records import encode
from tests.fakes import eventually, processes_of
from tests.hooks import NEVER, Hook

BODY = '{"text": "x"}'
ID = "5f0c9d"


@contextmanager
def process(delivery: Delivery) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """Start the process that delivers."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    argv = [sys.executable, "-P", "-m", "celeryfleet.supervise.deliver", str(theirs.fileno())]
    with ours, subprocess.Popen(argv, pass_fds=[theirs.fileno()], start_new_session=True, stderr=subprocess.PIPE) as it:
        theirs.close()
        ours.sendall(encode(delivery))
        yield ours, it


def told(delivery: Delivery) -> str:
    """Return what is said of a delivery."""
    with process(delivery.but(pauses=(0.01, 0.01))) as (channel, it):
        text = channel.recv(1000).decode().strip()
        channel.close()
        assert it.stderr is not None
        assert it.stderr.read() == b""
    return text


@pytest.mark.parametrize(
    ("answers", "text", "requests"),
    [
        ((204,), "told: the webhook answered 204", 1),
        ((500, 429, 200), "told: the webhook answered 200", 3),
        ((500, 503, 500), "not told: the webhook answered 500", 3),
        ((404,), "not told: the webhook answered 404", 1),
        ((302,), "not told: the webhook answered 302", 1),
        ((NEVER, 200), "told: the webhook answered 200", 2),
        ((NEVER, NEVER, NEVER), "not told: the webhook does not answer: TimeoutError", 3),
    ],
)
def test_a_webhook_is_asked_again_if_that_may_help(answers: tuple[int, ...], text: str, requests: int) -> None:
    hook = Hook(*answers)
    with hook.served() as url:
        assert told(Delivery(BODY, ID, webhook=url, timeout=0.3 if NEVER in answers else 10.0)) == text
    assert hook.got == [("/secret", "application/json", BODY.encode())] * requests
    assert hook.ids == [ID] * requests


def test_credentials_in_the_url_are_sent_as_such() -> None:
    hook = Hook()
    with hook.served() as url:
        assert told(Delivery(BODY, ID, webhook=url.replace("://", "://me:p%40ss@"))) == "told: the webhook answered 204"
    assert hook.authorization == f"Basic {b64encode(b'me:p@ss').decode()}"


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/secret", "http://no.such.host.invalid/secret"])
def test_a_server_that_is_dead_is_told_without_the_url(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = told(Delivery(BODY, ID, webhook=url.format(port=port)))
    assert found.startswith("not told: the webhook does not answer: ")
    assert "secret" not in found


def test_a_program_gets_the_event_twice(tmp_path: Path) -> None:
    script = f'cat > {tmp_path}/in; printf %s "$CELERYFLEET_ALERT" > {tmp_path}/env'
    assert told(Delivery(BODY, ID, ("sh", "-c", script))) == "told: sh ended with exit code 0"
    assert [(tmp_path / name).read_text() for name in ("in", "env")] == [BODY, BODY]


def test_a_program_that_fails_hangs_or_is_not_there_is_told(tmp_path: Path) -> None:
    assert told(Delivery(BODY, ID, ("sh", "-c", "exit 3"))) == "not told: sh ended with exit code 3"
    assert told(Delivery(BODY, ID, ("/no/such",))) == "not told: /no/such can't be run: No such file or directory"
    hangs = ("sh", "-c", f"cd {tmp_path}; sleep 60 & sleep 60")
    assert told(Delivery(BODY, ID, hangs, timeout=0.2)) == "not told: sh was killed after 0.2 s"
    assert eventually(lambda: not processes_of(tmp_path))


def test_nothing_is_left_of_it_when_the_supervisor_ends(tmp_path: Path) -> None:
    hangs = Delivery(BODY, ID, ("sh", "-c", f"cd {tmp_path}; touch begun; sleep 60"))
    with process(hangs) as (channel, it):
        eventually((tmp_path / "begun").exists)
        channel.close()
        assert it.wait(20) == -9
    assert eventually(lambda: not processes_of(tmp_path))

"""What `up` and its like do before and after a supervisor is asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from celeryfleet.cli import launch
from celeryfleet.cli.session import reach_broker
from celeryfleet.errors import Exit, FleetError
from celeryfleet.plan.values import BrokerPlan, Plan
from celeryfleet.protocol import LastExit, Settled
from celeryfleet.records import encode
from celeryfleet.supervise.control_client import Client, NotRunningError
from tests.unit.shown import pool as shown_pool
from tests.unit.shown import reply, worker
from tests.unit.supervise.histories import plan, pool


@pytest.fixture
def wanted(tmp_path: Path) -> Plan:
    return replace(
        plan(pool("web", 2), pool("mail")),
        file=str(tmp_path / "fleet.yaml"),
        state_dir=str(tmp_path / "state"),
        control=str(tmp_path / "control.sock"),
    )


def test_a_plan_is_narrowed_to_pools_and_numbers_that_there_are(wanted: Plan) -> None:
    found = launch.narrowed(wanted, ["mail"], {"mail": 3})
    assert [(pool.name, pool.replicas) for pool in found.pools] == [("mail", 3)]
    for names, counts in ((["mial"], {}), ([], {"mial": 1})):
        with pytest.raises(FleetError, match=r'there is no pool "mial"\. Did you mean "mail"\?'):
            launch.narrowed(wanted, names, counts)


def test_what_would_start_is_shown_of_a_fleet_that_is_down(wanted: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.preview(wanted, reload=False, only=(), as_json=False) == 0
    starts = [f"start {name}: it is wanted" for name in ("web-1", "web-2", "mail-1")]
    assert capsys.readouterr().out.splitlines() == starts
    with pytest.raises(NotRunningError):
        launch.preview(wanted, reload=True, only=(), as_json=False)
    launch.preview(replace(wanted, pools=()), reload=False, only=(), as_json=True)
    assert capsys.readouterr().out == '{\n  "schema_version": 1,\n  "actions": []\n}\n'


@contextlib.contextmanager
def answering(path: str, answer: bytes) -> Iterator[Client]:
    """Connect to a supervisor that replies to one request."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        with Client(path) as client:
            yield client
        thread.join(20)


SAID = LastExit(1, None, 0.0, "it exited with code 1", ("Traceback", "no such licence"))
FAILED = reply(
    shown_pool("web", 1, worker("web-1", "failed", cause="it exited with code 1, 6 times in 300 s", last_exit=SAID)),
    shown_pool("mail", 1, worker("mail-1", "failed", cause="no module")),
    state="degraded",
    notes=("The app does not import: no module",),
)


@pytest.mark.parametrize(
    ("settled", "code", "told"),
    [
        (
            Settled(None, reply(shown_pool("web", 2, worker("web-1")))),
            Exit.TIMEOUT,
            "1 of 2 workers are ready after 3 s.",
        ),
        (
            Settled(False, FAILED),
            Exit.NOT_READY,
            (
                "shop is not ready.\nThe app does not import: no module\n"
                "web-1 failed: it exited with code 1, 6 times in 300 s\n  Traceback\n  no such licence"
            ),
        ),
    ],
)
def test_what_a_wait_comes_to_is_told_with_its_exit_code(
    tmp_path: Path, settled: Settled, code: Exit, told: str
) -> None:
    with answering(str(tmp_path / "control.sock"), encode(settled)) as client, pytest.raises(FleetError) as caught:
        launch.await_ready(client, 3.0)
    assert caught.value.problems[0].what == told
    assert caught.value.code is code


def test_a_fleet_that_is_ready_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = reply(shown_pool("web", 1, worker("web-1")), shown_pool("low", 0))
    with answering(str(tmp_path / "control.sock"), encode(Settled(True, status))) as client:
        assert launch.await_ready(client, None) == 0
    assert capsys.readouterr().err.startswith("shop is ready: 1 worker in 2 pools (")


def test_a_broker_that_does_not_answer_is_named_without_its_password(wanted: Plan) -> None:
    url = "redis+socket://:secret@/nowhere/broker.sock"
    for broker, told in (
        (BrokerPlan(url, "redis+socket://***", url), "the broker redis+socket://*** cannot be reached"),
        (BrokerPlan(url, "x", url, ("valkey-server",)), "the fleet's own broker does not answer ("),
    ):
        with pytest.raises(FleetError) as caught:
            reach_broker(replace(wanted, broker=broker))
        assert str(caught.value).startswith(told)
        assert "secret" not in str(caught.value)
        assert caught.value.code is Exit.BROKER

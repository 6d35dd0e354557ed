"""A real fork server, asked as the supervisor does, over apps of all kinds."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeryfleet.supervise import process
from celeryfleet.supervise.forkserver import ServerProcess
from celeryfleet.worker_protocol import App, Broken, Hello, LogFile, Preload, Preloaded
from tests.fakes import eventually
from tests.services.worker.children import Line, settings_of, start_message

APP = "from celery import Celery\napp = Celery('shop')\n@app.task\ndef add(a, b): return a + b\n"
Ask = Callable[..., Any]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    running = ServerProcess.start(str(tmp_path / "early.log"))
    yield running
    running.close()
    process.tell(running.pid, signal.SIGKILL)
    os.waitpid(running.pid, 0)


@pytest.fixture
def subreaper() -> Iterator[None]:
    assert process.become_subreaper()
    yield
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


@pytest.fixture
def ask(server: ServerProcess, tmp_path: Path) -> Ask:
    """Have the server import an app; return what it reports."""

    def imported(app: str = APP, **settings: Any) -> Preloaded | Broken:
        (tmp_path / "shop.py").write_text(app)
        whole = {"broker_url": "redis+socket:///nowhere", **settings}
        named = App("shop", "", str(tmp_path), whole, str(tmp_path / "settings.json"))
        message = Preload(named, {"FROM_ENV_FILE": "1"}, LogFile(str(tmp_path / "preload.log"), 1_000_000, 2))
        sent = server.send(message, [os.dup(0)])
        assert sent or eventually(server.flush)
        return heard(server)

    return imported


def heard(server: ServerProcess) -> Preloaded | Broken:
    def received() -> list[Any]:
        try:
            return [server.receive()]
        except BlockingIOError:
            return []

    (message,) = eventually(received)
    assert isinstance(message, Preloaded | Broken)
    return message


def test_it_reports_the_tasks_of_an_app_that_may_be_forked(ask: Ask) -> None:
    report = ask()
    assert (report.unsafe, report.tasks) == ("", ("shop.add",))


def test_settings_of_any_size_reach_it_and_so_does_what_it_reports(ask: Ask) -> None:
    names = [f"a-queue-with-a-rather-long-name-{number}" for number in range(500)]
    queues = [{"name": n, "exchange": n, "exchange_type": "direct", "routing_key": n, "arguments": {}} for n in names]
    routes = [{"glob": f"shop.some.package.of.tasks.{n}.*", "options": {"queue": names[n % 500]}} for n in range(4000)]
    many = "\nfor n in range(10000): app.task(name=f'shop.some.package.of.tasks.number.{n}')(add.run)\n"
    report = ask(APP + many, task_queues=queues, task_routes=routes)
    assert isinstance(report, Preloaded), report
    assert len(report.tasks) == 10_001


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        ("import nothing_like_this", "nothing_like_this"),
        ("raise SystemExit('no such licence')", "no such licence"),
        ("raise ValueError('x' * 1_000_000)", "ValueError"),
        ("def", "SyntaxError"),
    ],
)
def test_an_app_that_does_not_import_is_reported_with_its_reason(ask: Ask, app: str, reason: str) -> None:
    report = ask(app)
    assert isinstance(report, Broken)
    assert reason in report.error


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=[60], name='mine', daemon=True).start()",
            "mine",
        ),
        ("import socket\npair = socket.socketpair()", "connection"),
    ],
)
def test_an_app_that_must_not_be_forked_is_reported_with_the_reason(ask: Ask, code: str, reason: str) -> None:
    report = ask(APP + code)
    assert reason in report.unsafe


def test_it_imports_in_the_folder_of_the_fleet_with_its_environment(ask: Ask, tmp_path: Path) -> None:
    check = (
        f"import os\nassert os.getcwd() == {str(tmp_path)!r}, os.getcwd()\nassert os.environ['FROM_ENV_FILE'] == '1'\n"
    )
    assert isinstance(ask(APP + check), Preloaded)


def test_an_app_that_prints_much_and_reads_its_input_neither_blocks_nor_is_lost(ask: Ask, tmp_path: Path) -> None:
    report = ask(APP + "import sys\nprint('x' * 300_000)\nassert sys.stdin.read() == ''\n")
    assert isinstance(report, Preloaded), report
    assert (tmp_path / "preload.log").stat().st_size > 300_000


def test_it_ends_when_the_supervisor_hangs_up(tmp_path: Path) -> None:
    server = ServerProcess.start(str(tmp_path / "early.log"))
    server.close()
    assert os.waitstatus_to_exitcode(os.waitpid(server.pid, 0)[1]) == 0


def test_workers_that_are_asked_for_at_once_are_ours_and_share_no_heartbeat(
    subreaper: None, ask: Ask, server: ServerProcess, tmp_path: Path
) -> None:
    ask()
    os.kill(server.pid, signal.SIGSTOP)
    lines: list[Line] = []
    order = start_message(tmp_path, settings_of(tmp_path / "none", "web"), "solo")
    for _ in range(20):
        ours, theirs = socket.socketpair()
        lines.append(Line(ours))
        server.send(order.start, [theirs.detach()])
    os.kill(server.pid, signal.SIGCONT)
    assert eventually(server.flush)
    pids = [line.first(Hello).pid for line in lines]
    assert len(set(pids)) == 20
    assert all(process.is_child(pid) for pid in pids)
    for line, pid in zip(lines, pids, strict=True):
        os.kill(pid, signal.SIGKILL)
        eventually(lambda line=line: _closed(line))  # type: ignore[misc]
        assert os.waitpid(pid, 0)[0] == pid
        line.socket.close()


def _closed(line: Line) -> bool:
    try:
        return not line.socket.recv(1 << 16)
    except ConnectionResetError:
        return True
    except BlockingIOError:
        return False

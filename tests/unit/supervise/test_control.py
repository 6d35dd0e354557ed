"""Requests and replies over a real control socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeryfleet import trust
from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import Attach, Done, GetTasks, Restart, Scale, Stop, Tasks, Wait
from celeryfleet.records import LIMIT, Record
from celeryfleet.supervise.control_client import Client, NotRunningError
from celeryfleet.supervise.control_server import _CALLERS, ControlServer
from tests.fakes import eventually
from tests.strangers import STRANGER, needs_root

Asked = Restart | Stop | Scale | Attach | Wait


class Service:
    """A supervisor's end of the socket, in a thread, with a handler that does little."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[Record] = []
        self.troubles: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._server = ControlServer(Asked, self.handle, lambda what, error: self.troubles.append(f"{what}: {error!r}"))
        self._stop = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._run()])
        self._thread.start()
        assert self._listening.wait(20)

    async def handle(self, request: Any, at_end: list[Callable[[], None]]) -> Record:
        self.asked.append(request)
        match request:
            case Restart(pools):
                return Tasks(pools)
            case Stop():
                raise FleetError("that is not possible.", hint="Ask for something else.", code=Exit.NOT_READY)
            case Scale(replicas):
                replicas["a bug"]
            case Attach():
                at_end.append(lambda: self.asked.append(Done()))
            case Wait():
                await asyncio.Event().wait()
        return Done()

    async def _run(self) -> None:
        self._server.listen(str(self.path))
        self._listening.set()
        await self._stop.wait()
        await self._server.close()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive(), "a caller keeps the supervisor from ending"
        self._loop.close()


@pytest.fixture
def service() -> Iterator[Service]:
    with tempfile.TemporaryDirectory() as folder:
        running = Service(Path(folder) / "private" / "control.sock")
        try:
            yield running
        finally:
            running.stop()


def plain(service: Service) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(service.path))
    return sock


def echo(client: Client, text: str) -> str:
    (found,) = client.ask(Restart((text,)), Tasks).names
    return found


def test_a_request_is_answered_and_the_connection_stays(service: Service) -> None:
    with Client(str(service.path)) as client:
        for text in ("one", "zwölf", "x" * 300_000):
            assert echo(client, text) == text


def test_the_socket_is_for_its_owner_alone(service: Service) -> None:
    assert stat.S_IMODE(service.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(service.path.parent.stat().st_mode) == 0o700


def test_an_error_arrives_with_its_hint_and_exit_code(service: Service) -> None:
    with Client(str(service.path)) as client, pytest.raises(FleetError) as caught:
        client.do(Stop())
    assert str(caught.value) == "that is not possible. Ask for something else."
    assert caught.value.code is Exit.NOT_READY


def test_a_request_that_fails_is_refused_and_told(service: Service) -> None:
    with Client(str(service.path)) as client:
        with pytest.raises(FleetError, match=r'could not do "scale": KeyError\(\'a bug\'\)'):
            client.do(Scale({}))
        assert echo(client, "still here") == "still here"
    assert service.troubles == ["the request \"scale\" failed: KeyError('a bug')"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"t":"restart","pools":"web"}', "'web' is no tuple"),
        (b'{"t":"scale"}', "Scale lacks replicas"),
        (b'{"t":"scale","replicas":{"web":true}}', "True is no int"),
        (b'{"t":"wait","timeout":NaN}', "nan is no float"),
        (b'{"t":"fly"}', "there is no message 'fly'"),
        (b'{"t":["restart"]}', "there is no message ['restart']"),
        (b"{}", "there is no message None"),
    ],
)
def test_what_is_no_request_is_refused_and_reaches_nobody(service: Service, line: bytes, told: str) -> None:
    with plain(service) as sock:
        sock.sendall(line + b"\n")
        assert f"the supervisor does not understand this: {told}." in json.loads(sock.recv(4096))["what"]
    assert service.asked == []
    assert service.troubles == []


def test_a_client_of_another_version_is_told_what_to_do(service: Service) -> None:
    with Client(str(service.path)) as client, pytest.raises(FleetError, match="`celeryfleet down`, then"):
        client.ask(GetTasks(), Tasks)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe\n", b"[1]\n", b"[" * 100_000 + b"\n"])
def test_garbage_ends_its_own_connection_only(service: Service, garbage: bytes) -> None:
    with plain(service) as sock, Client(str(service.path)) as client:
        sock.sendall(garbage)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(4096) == b""
        assert echo(client, "one") == "one"
    assert service.troubles == []


def test_callers_that_hang_up_are_forgotten(service: Service) -> None:
    for half in (b"", b'{"t": "re', b'{"t":"restart","pools":["x"]}\n' * 50):
        with plain(service) as sock:
            sock.sendall(half)
    eventually(lambda: not service._server._calls)
    with Client(str(service.path)) as client:
        assert echo(client, "one") == "one"


def test_who_is_attached_is_missed_when_its_connection_ends(service: Service) -> None:
    with Client(str(service.path)) as client:
        client.do(Attach())
        assert service.asked == [Attach()]
    eventually(lambda: service.asked == [Attach(), Done()])


def test_a_caller_that_never_reads_does_not_keep_the_supervisor_from_ending(service: Service) -> None:
    sock = plain(service)
    sock.sendall(b'{"t":"restart","pools":["' + b"x" * 5_000_000 + b'"]}\n')
    eventually(lambda: service.asked)
    with sock:
        service.stop()
        service.stop = lambda: None  # type: ignore[method-assign]


def test_who_waits_for_the_end_learns_of_it(service: Service) -> None:
    with Client(str(service.path)) as client:
        echo(client, "one")
        threading.Thread(target=stop_when_asked, args=[service]).start()
        with pytest.raises(NotRunningError):
            client.do(Wait())
    service.stop = lambda: None  # type: ignore[method-assign]
    eventually(lambda: service._loop.is_closed())


def stop_when_asked(service: Service) -> None:
    eventually(lambda: len(service.asked) == 2)
    Service.stop(service)


def test_without_a_supervisor_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError):
        Client(str(tmp_path / "control.sock"))
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale))
    with pytest.raises(NotRunningError):
        Client(str(stale))


def test_something_else_on_the_socket_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        with Client(str(path)) as client:
            other, _ = sock.accept()
            with other:
                other.sendall(b"-ERR unknown command\r\n")
                with pytest.raises(FleetError, match="no supervisor"):
                    client.ask(GetTasks(), Tasks)


# --- What callers may hold ----------------------------------------------------------------------------------


def test_half_said_requests_are_bounded_in_total(service: Service) -> None:
    """30 callers that had each sent 15 MB of a request held 519 MB of the supervisor."""
    callers = [plain(service) for _ in range(30)]
    turned_away = 0
    for sock in callers:
        try:
            sock.sendall(b'{"t":"restart","pools":["' + b"x" * 15_000_000)
        except OSError:
            turned_away += 1
    assert turned_away == 28
    assert 0 <= service._server._room.left < LIMIT
    with Client(str(service.path)) as client:
        assert echo(client, "small") == "small"
    for sock in callers:
        sock.close()
    eventually(lambda: service._server._room.left == 2 * LIMIT)


def test_a_burst_of_callers_waits_to_be_let_in(service: Service) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    burst = [socket.socket(socket.AF_UNIX) for _ in range(1024)]
    for sock in burst:
        sock.setblocking(False)
        sock.connect(str(service.path))  # a full backlog would raise BlockingIOError
    eventually(lambda: len(service._server._calls) == _CALLERS)
    for sock in burst:
        sock.close()
    with Client(str(service.path)) as client:
        assert echo(client, "one") == "one"


@needs_root
def test_a_stranger_is_turned_away(service: Service) -> None:
    for path in (service.path.parent.parent, service.path.parent, service.path):
        path.chmod(0o777)  # as if the folder had been opened by mistake
    program = """if True:
        import os, socket, sys
        os.setgid(65534); os.setuid(65534)
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(sys.argv[1])
        print(sock.recv(4096).decode(), end="")
    """
    argv = [sys.executable, "-c", program, str(service.path)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout
    assert json.loads(said)["what"] == f"this fleet is not {trust.named(STRANGER)}'s."
    assert service.asked == []

"""The brokers that a run can break: the fleet's own, a Redis and a RabbitMQ that are started for it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kombu import Connection as Kombu

from benchmarks import measure
from celeryfleet.plan.broker import server_command, socket_url
from celeryfleet.redis_client import BrokerError, connect
from celeryfleet.supervise.program import find_server

if TYPE_CHECKING:
    from celeryfleet.redis_client import Reply

#: seconds until a server that was started answers, or one that was killed is gone
_PATIENCE = 60.0
#: Debian's `rabbitmq-server` runs as its own user only; this is what it wraps
_RABBIT = (Path("/usr/lib/rabbitmq/bin"), Path("/usr/local/sbin"), Path("/opt/rabbitmq/sbin"))
_ID = re.compile(rb'"id": "([^"]+)"')


class MissingError(RuntimeError):
    """A broker is not installed here."""


class Embedded:
    """The fleet's own Valkey, which its supervisor starts again."""

    name = "embedded"
    #: what stands in fleet.yaml
    setting = "embedded"
    #: what a sender needs so that a stopped broker does not hold it for ever
    options: Mapping[str, Any] = {"socket_timeout": 3.0, "socket_connect_timeout": 3.0}
    #: whether it ends with the fleet
    ends_with_fleet = True

    def __init__(self, home: Path) -> None:
        self._state = home / ".celeryfleet"
        self.url = socket_url(str(self._state / "chaos" / "broker.sock"))

    def pid(self) -> int:
        """Return the pid of the server; raises LookupError while there is none."""
        for pid in measure.pids_in(self._state):
            if b"-server" in Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]:
                return pid
        raise LookupError("the broker does not run")

    def start(self) -> None:
        """Leave it to the supervisor."""

    def stop(self) -> None:
        """Ask the server to end, and wait for it."""
        end(self.pid(), signal.SIGTERM)

    def cut(self) -> None:
        """Close the connections of all others."""
        self._call("CLIENT", "KILL", "SKIPME", "yes")

    def kept(self) -> set[str]:
        """Return the ids of the tasks whose messages it holds, ready or unacknowledged."""
        return {found.decode() for entry in self._entries() for found in _ID.findall(entry)}

    def names(self) -> Counter[str]:
        """Count the names of its keys, with numbers and random parts made alike."""
        return Counter(anonymous(key.decode()) for key in self._keys())

    def close(self) -> None:
        """End with the fleet."""

    def _call(self, *words: str | bytes) -> Reply:
        with connect(self.url) as connection:
            return connection.call(*words)

    def _keys(self) -> list[bytes]:
        found = self._call("KEYS", "*")
        return [key for key in found if isinstance(key, bytes)] if isinstance(found, list) else []

    def _entries(self) -> list[bytes]:
        entries: list[bytes] = []
        for key in self._keys():
            words = {b"list": ("LRANGE", key, "0", "-1"), b"hash": ("HVALS", key)}.get(self._type(key))
            found = self._call(*words) if words else None
            entries += [entry for entry in found if isinstance(entry, bytes)] if isinstance(found, list) else []
        return entries

    def _type(self, key: bytes) -> bytes:
        found = self._call("TYPE", key)
        return found if isinstance(found, bytes) else str(found).encode()


class Redis(Embedded):
    """A Redis of the run's own, which syncs each write: what it confirmed, only a fleet can lose."""

    name = "redis"
    ends_with_fleet = False

    def __init__(self, home: Path) -> None:
        self._state = home
        path = str(home / "redis.sock")
        self.url = self.setting = socket_url(path)
        server = shutil.which("redis-server") or find_server()
        self._command = (*server_command(server, path, str(home)), "--appendfsync", "always")

    def start(self) -> None:
        """Start it, and return when it answers."""
        spawn(self._command, self._state, dict(os.environ))
        until(self._answers, "Redis to answer")

    def close(self) -> None:
        """Kill it."""
        with contextlib.suppress(LookupError):
            end(self.pid(), signal.SIGKILL)

    def _answers(self) -> bool:
        with contextlib.suppress(BrokerError):
            return self._call("PING") == b"PONG"
        return False


class Rabbit:
    """A RabbitMQ node of the run's own: own ports, own data, and an epmd of its own."""

    name = "rabbitmq"
    options: Mapping[str, Any] = {"read_timeout": 10, "write_timeout": 10}
    ends_with_fleet = False

    def __init__(self, home: Path) -> None:
        self._bin = next((place for place in _RABBIT if (place / "rabbitmq-server").exists()), None)
        if self._bin is None:
            raise MissingError("no rabbitmq-server is installed here")
        self._home, (port, distribution, mapper) = home, free_ports(3)
        self.url = self.setting = f"amqp://guest:guest@127.0.0.1:{port}//"
        self._port, self._mapper = port, str(mapper)
        node = {"NODENAME": f"chaos-{port}@localhost", "NODE_IP_ADDRESS": "127.0.0.1", "NODE_PORT": str(port)}
        places = {"MNESIA_BASE": "data", "LOG_BASE": "log", "PID_FILE": "pid", "ENABLED_PLUGINS_FILE": "plugins"}
        nothing = {"CONFIG_FILE": "none", "CONF_ENV_FILE": "none"}
        options = {**node, "DIST_PORT": str(distribution)}
        options |= {key: str(home / name) for key, name in {**places, **nothing}.items()}
        self._env = {**os.environ, "HOME": str(home), "ERL_EPMD_PORT": self._mapper}
        self._env |= {f"RABBITMQ_{key}": value for key, value in options.items()}
        (home / "plugins").write_text("[].\n")

    def pid(self) -> int:
        """Return the pid of the server; raises LookupError while there is none."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int((self._home / "pid").read_text())
            if Path(f"/proc/{pid}").exists():
                return pid
        raise LookupError("the broker does not run")

    def start(self) -> None:
        """Start it, and return when it answers."""
        if not listens(int(self._mapper)):
            spawn(("epmd", "-port", self._mapper, "-address", "127.0.0.1"), self._home, self._env)
            until(lambda: listens(int(self._mapper)), "epmd to listen")
        spawn((f"{self._bin}/rabbitmq-server",), self._home, self._env)
        until(self._answers, "RabbitMQ to answer")

    def stop(self) -> None:
        """Ask the server to end, and wait for it."""
        end(self.pid(), signal.SIGTERM)

    def cut(self) -> None:
        """Close the connections of all."""
        self._control("close_all_connections", "chaos")

    def kept(self) -> set[str]:
        """Return the ids of the tasks whose messages it holds; whoever took them has to be gone."""
        found = set()
        with Kombu(self.url) as connection:
            for name in self._control("list_queues", "--no-table-headers", "name").split():
                channel = connection.channel()  # closing it gives back what was taken
                while message := channel.basic_get(name):
                    found.add(str(message.headers.get("id")))
                channel.close()
        return found

    def names(self) -> Counter[str]:
        """Count the names of its queues, with numbers and random parts made alike."""
        return Counter(
            anonymous(name) for name in self._control("list_queues", "--no-table-headers", "name").splitlines()
        )

    def close(self) -> None:
        """Kill it."""
        with contextlib.suppress(LookupError):
            end(self.pid(), signal.SIGKILL)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, LookupError):
            self.pid()
            with Kombu(self.url, connect_timeout=2) as connection:
                connection.connect()
                return True
        return False

    def _control(self, *words: str) -> str:
        command = (f"{self._bin}/rabbitmqctl", "--quiet", *words)
        done = subprocess.run(command, cwd=self._home, env=self._env, capture_output=True, text=True, check=True)
        return done.stdout


Broker = Embedded | Rabbit
BROKERS: Mapping[str, Callable[[Path], Broker]] = {kind.name: kind for kind in (Embedded, Redis, Rabbit)}


def anonymous(name: str) -> str:
    """Make names that differ in numbers and random parts alike."""
    name = re.sub(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", "U", name)
    return re.sub(r"\d+", "N", name).replace("\x06\x16", "/")


def spawn(command: Collection[str], folder: Path, env: Mapping[str, str]) -> None:
    """Start a server in a folder by which it is found, and reap it whenever it ends."""
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            tuple(command),
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    threading.Thread(target=process.wait, daemon=True).start()


def end(pid: int, number: signal.Signals) -> None:
    """Signal a process, and return when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    until(lambda: gone(pid), f"{pid} to end")


def gone(pid: int) -> bool:
    """Tell whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def until(condition: Callable[[], bool], what: str, seconds: float = _PATIENCE) -> None:
    """Return when the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]

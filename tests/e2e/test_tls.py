"""A fleet on a Redis that takes TLS alone, wants a certificate and gives its user the rights that the docs name."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from celeryfleet.redis_client import Connection, connect
from tests.e2e.conftest import FLEET, Home
from tests.e2e.test_kills import busy, release
from tests.fakes import eventually
from tests.tls_servers import Authority, free_port, redis_with

DOCS = Path(__file__).parents[2] / "docs" / "brokers.md"


@dataclass
class Secured:
    """A Redis with TLS."""

    port: int
    tls: dict[str, str]

    def connect(self) -> Connection:
        """Connect as its administrator."""
        return connect(f"rediss://localhost:{self.port}", settings={"broker_use_ssl": self.tls})

    def allow(self, line: str) -> None:
        """Set a user's rights, and forget whom it has refused so far."""
        with self.connect() as connection:
            connection.call(*line.split())
            connection.call("ACL", "LOG", "RESET")

    def refused(self) -> list[str]:
        """Return what it has refused to users."""
        with self.connect() as connection:
            entries = connection.call("ACL", "LOG")
        assert isinstance(entries, list)
        return [str(entry) for entry in entries if "config|get" not in str(entry)]  # `check` can do without


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    authority, port = Authority(tmp_path / "tls"), free_port()
    client = authority.issue("client")
    tls = {"ssl_ca_certs": str(authority.file), "ssl_certfile": str(client.file), "ssl_keyfile": str(client.key)}
    with redis_with(tmp_path, authority.of_redis(authority.issue("server", "DNS:localhost"), port)):
        yield Secured(port, tls)


def fleet_on(secured: Secured) -> str:
    broker = f"broker: rediss://shop:secret@localhost:{secured.port}/0\n"
    return FLEET.replace("celery: {", f"{broker}celery: {{broker_use_ssl: {json.dumps(secured.tls)}, ")


def documented() -> str:
    """Return the ACL line of the docs."""
    found = re.search(r"^ACL SETUSER shop .*", DOCS.read_text(), re.MULTILINE)
    assert found is not None
    return found[0]


def test_all_that_a_fleet_does_works_with_tls_and_the_documented_rights(home: Home, secured: Secured) -> None:
    secured.allow(documented())
    home.write(fleet_on(secured)).up()
    assert home.send("add", "1", "2") == 3
    assert (
        json.loads(home.run("canvas", "chord([add.s(1, 1), add.s(2, 2)], add.si(3, 4))", "--json").stdout)["result"]
        == 7
    )
    busy(home)
    os.kill(home.pid("mail-1"), signal.SIGKILL)
    eventually(lambda: home.worker("mail-1")["restarts"] == 1)
    release(home)
    assert json.loads(home.run("send", "add", "1", "2", "--count", "50", "--no-wait", "--json").stdout)["sent"] == 50
    eventually(lambda: sum(queue["ready"] + queue["unacked"] for queue in home.status()["queues"]) == 0)
    assert home.run("check").returncode == 0
    home.run("pause", "default")
    home.post("add", "3", "4")
    assert "dropped 1 message" in home.run("down", "--purge").stderr
    assert secured.refused() == []


def test_a_user_may_be_kept_to_the_keys_of_a_prefix(home: Home, secured: Secured) -> None:
    secured.allow(documented().replace("~*", "~shop:*"))
    prefix = "{global_keyprefix: 'shop:'}"
    options = f"broker_transport_options: {prefix}, result_backend_transport_options: {prefix}, "
    home.write(fleet_on(secured).replace("celery: {", f"celery: {{{options}")).up()
    assert home.run("canvas", "chord([add.s(1, 1)], add.si(3, 4))").stdout.strip() == "7"
    busy(home)
    os.kill(home.pid("mail-1"), signal.SIGKILL)
    eventually(lambda: home.worker("mail-1")["restarts"] == 1)
    release(home)
    assert "[CF046]" not in home.run("check").stderr
    assert secured.refused() == []


def test_a_user_who_may_not_ask_for_the_time_has_a_fleet_that_works(home: Home, secured: Secured) -> None:
    secured.allow(documented().replace("+time", ""))
    assert home.write(fleet_on(secured)).up().send("add", "1", "2") == 3


def test_a_user_without_scripts_has_a_fleet_that_works(home: Home, secured: Secured) -> None:
    """kombu would end the worker: it binds the queues of remote control by a script."""
    secured.allow(documented().replace("+@scripting", "-@scripting"))
    home.write(fleet_on(secured))
    done = home.run("check", "--strict", check=False)
    assert done.returncode == 1
    assert "Redis refuses EVALSHA and SCRIPT LOAD, so workers pop messages" in done.stdout
    home.up()
    pids = [home.pid("mail-1"), home.pid("web-1")]
    assert home.send("add", "1", "2") == 3
    busy(home)
    os.kill(pids[0], signal.SIGKILL)
    eventually(lambda: home.worker("mail-1")["restarts"] == 1)
    release(home)
    eventually(lambda: sum(queue["ready"] + queue["unacked"] for queue in home.status()["queues"]) == 0)
    assert home.pid("web-1") == pids[1]
    assert "Traceback" not in home.log("web-1")
    assert "Messages are popped" in home.log("web-1")


def test_a_broker_that_refuses_is_an_error_of_check_and_ends_up_with_the_reason(home: Home, secured: Secured) -> None:
    ours = secured.tls["ssl_ca_certs"]
    (home.path / "ca.pem").symlink_to(ours)
    home.write(fleet_on(secured).replace(ours, "ca.pem").replace("localhost", "127.0.0.1"))
    for words, code in ((("check",), 2), (("up", "-d"), 69), (("send", "add", "1", "2"), 69)):
        done = home.run(*words, check=False)
        assert done.returncode == code
        assert "TLS: its certificate does not have its IP address" in done.stderr
        assert ("[CF046]" in done.stderr) == (words == ("check",))
        assert "check --explain CF046` says" in done.stderr


def test_results_on_a_server_of_their_own_are_looked_at_too(home: Home, secured: Secured) -> None:
    fleet = FLEET.replace("celery: {", f"results: rediss://localhost:{secured.port}/0\ncelery: {{")
    done = home.write(fleet).run("check", check=False)
    assert done.returncode == 2
    assert "does not let the fleet in: TLS: its certificate is signed by an authority" in done.stderr
    home.up()
    done = home.run("send", "add", "1", "2", check=False)
    assert done.returncode == 69
    assert "cannot be reached: TLS: its certificate is signed by an authority" in done.stderr
    home.write(fleet.replace("celery: {", f"celery: {{redis_backend_use_ssl: {json.dumps(secured.tls)}, ")).up()
    assert home.run("check").returncode == 0
    assert home.send("add", "1", "2") == 3

"""A fleet on a RabbitMQ with TLS, a private authority and certificates of its clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import FLEET, Home
from tests.e2e.test_kills import busy, release
from tests.fakes import eventually
from tests.tls_servers import Authority, Certificate, rabbitmq

pytestmark = pytest.mark.slow


@dataclass
class Secured:
    """A RabbitMQ with TLS."""

    port: int
    authority: Authority
    client: Certificate

    def fleet(self, query: str = "", host: str = "localhost", login: str = "guest:guest@", celery: str = "") -> str:
        broker = f"broker: amqps://{login}{host}:{self.port}//{query}\nresults: rpc://\n"
        return FLEET.replace("celery: {", f"{broker}celery: {{{celery}")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("rabbit")
    authority = Authority(folder / "tls")
    server = authority.issue("server", "IP:127.0.0.1")  # which kombu takes `localhost` for
    with rabbitmq(folder, authority, server) as port:
        yield Secured(port, authority, authority.issue("guest"))


def test_all_that_a_fleet_does_works(home: Home, secured: Secured) -> None:
    client = secured.client
    query = f"?ssl_ca_certs={secured.authority.file}&ssl_certfile={client.file}&ssl_keyfile={client.key}"
    home.write(secured.fleet(query)).up()
    assert home.send("add", "1", "2") == 3
    busy(home)
    release(home)
    assert json.loads(home.run("send", "add", "1", "2", "--count", "50", "--no-wait", "--json").stdout)["sent"] == 50
    eventually(lambda: [queue["ready"] for queue in home.status()["queues"]] == [0, 0])
    assert "was not asked" not in home.run("check").stderr
    home.run("pause", "default")
    home.post("add", "3", "4")
    eventually(lambda: sum(queue["ready"] for queue in home.status()["queues"]) == 1)
    assert "dropped 1 message" in home.run("down", "--purge").stderr


def test_a_certificate_logs_in_by_itself(home: Home, secured: Secured) -> None:
    client = secured.client
    tls = {"ca_certs": str(secured.authority.file), "certfile": str(client.file), "keyfile": str(client.key)}
    celery = f"broker_use_ssl: {json.dumps(tls)}, broker_login_method: EXTERNAL, "
    home.write(secured.fleet(login="", celery=celery)).up()
    assert home.send("add", "1", "2") == 3


@pytest.mark.parametrize(
    ("host", "names", "expected"),
    [
        ("localhost", [], "TLS: its certificate is signed by an authority that is not trusted here"),
        ("localhost", ["ca_certs"], "certificate of its clients"),
        ("localhost.localdomain", ["ca_certs", "certfile", "keyfile"], "TLS: its certificate is for another host name"),
    ],
)
def test_a_refusal_is_an_error_of_check(
    home: Home, secured: Secured, host: str, names: list[str], expected: str
) -> None:
    client = secured.client
    files = {"ca_certs": secured.authority.file, "certfile": client.file, "keyfile": client.key}
    tls = {name: str(files[name]) for name in names}
    named = {"server_hostname": host} if host != "localhost" else {}
    home.write(secured.fleet(celery=f"broker_use_ssl: {json.dumps(tls | named)}, "))
    done = home.run("check", check=False)
    assert (done.returncode, "[CF046]" in done.stderr) == (2, True)
    assert expected in done.stderr
    assert home.run("up", "-d", check=False).returncode == 69

"""One way to connect for all: our client, kombu and Celery's result backend; with TLS, users and sentinels."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from celeryfleet.app import apply
from celeryfleet.client.broker import opened, reach
from celeryfleet.depths import measure
from celeryfleet.endpoint import Refusal
from celeryfleet.plan.build import build
from celeryfleet.plan.values import Plan
from celeryfleet.redis_client import BrokerError, connect
from celeryfleet.supervise.decide.state import FleetState
from celeryfleet.supervise.decide.target import Target
from celeryfleet.supervise.status import backlog
from tests.fakes import forget_pools
from tests.tls_servers import Authority, Certificate, free_port, redis_with, sentinel
from tests.unit.plan.fleets import FACTS, fleet_of, fleet_text

DOCS = Path(__file__).parents[2] / "docs" / "brokers.md"


def plan_of(url: str, **celery: Any) -> Plan:
    return build(fleet_of(fleet_text(broker=url, celery=celery)), FACTS)


def all_connect(plan: Plan, **own: Any) -> None:
    """Have everyone who connects do so, and see that all talk to one database; `own` are settings of the app's."""
    app = Celery("app", set_as_current=False)
    app.conf.update(own)
    apply(app, plan.settings)
    with connect(plan.broker.url, settings=plan.settings) as ours:
        ours.call("FLUSHDB")
        app.send_task("x", queue="default")
        assert measure(backlog(Target.of(plan), FleetState()), time.time())["default"]["ready"] == 1
        with opened(plan.broker.url, plan.settings) as theirs:
            assert theirs.default_channel.queue_purge("default") == 1
        app.backend.client.set("result", "kept")
        assert ours.call("GET", "result") == b"kept"
    app.backend.client.connection_pool.disconnect()
    forget_pools(app)


def refusal(plan: Plan) -> str:
    """Return why our client is not let in, without the place; see that kombu says so too."""
    with pytest.raises(BrokerError) as caught:
        connect(plan.broker.url, settings=plan.settings)
    assert isinstance(caught.value.reason, Refusal)
    assert "TLS: " in reach(plan.broker.url, plan.settings)
    return str(caught.value.reason)


# --- TLS --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def client(authority: Authority) -> Certificate:
    return authority.issue("client")


@pytest.fixture(scope="module")
def secure(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Give the port of a Redis that wants certificates of its clients."""
    port = free_port()
    server = authority.issue("server", "DNS:localhost", "IP:127.0.0.1")
    with redis_with(tmp_path_factory.mktemp("redis"), authority.of_redis(server, port)):
        yield port


def test_options_in_the_url_are_everybodys(authority: Authority, client: Certificate, secure: int) -> None:
    query = f"ssl_ca_certs={authority.file}&ssl_certfile={client.file}&ssl_keyfile={client.key}"
    all_connect(plan_of(f"rediss://127.0.0.1:{secure}/3?{query}"))
    all_connect(plan_of(f"redis://localhost:{secure}/?{query}&ssl_cert_reqs=CERT_REQUIRED"))


def test_options_in_a_setting_are_everybodys(authority: Authority, client: Certificate, secure: int) -> None:
    ours = {"ssl_ca_certs": str(authority.file), "ssl_certfile": str(client.file), "ssl_keyfile": str(client.key)}
    all_connect(plan_of(f"redis://127.0.0.1:{secure}/0", broker_use_ssl=ours))
    as_on_rabbitmq = {key.removeprefix("ssl_"): value for key, value in ours.items()}
    all_connect(plan_of(f"rediss://127.0.0.1:{secure}/0", broker_use_ssl=as_on_rabbitmq))
    unverified = {**ours, "ssl_cert_reqs": "none", "ssl_ca_certs": None}
    all_connect(plan_of(f"rediss://127.0.0.1:{secure}/0", broker_use_ssl=unverified))


def test_authorities_of_the_machine_are_trusted_beside_those_that_are_named(
    authority: Authority, client: Certificate, secure: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py reads both; ours reads the many of the machine only if it has to."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    query = f"ssl_certfile={client.file}&ssl_keyfile={client.key}&ssl_ca_certs={Authority(tmp_path).file}"
    all_connect(plan_of(f"rediss://127.0.0.1:{secure}/3?{query}"))


def test_tls_of_the_app_s_own_is_not_mixed_in(tmp_path: Path) -> None:
    """Workers would speak TLS where nobody else does."""
    port, tls = free_port(), {"ssl_cert_reqs": "none"}
    with redis_with(tmp_path, {"port": port}):
        all_connect(plan_of(f"redis://127.0.0.1:{port}"), broker_use_ssl=tls, redis_backend_use_ssl=tls)


def test_a_certificate_that_nobody_here_trusts_is_refused_by_all(secure: int) -> None:
    assert refusal(plan_of(f"rediss://127.0.0.1:{secure}/0")) == (
        "TLS: its certificate is signed by an authority that is not trusted here; "
        "broker_use_ssl: {ssl_ca_certs: …} names an authority of your own"
    )


def test_a_client_without_a_certificate_is_told_that_one_is_wanted(authority: Authority, secure: int) -> None:
    told = refusal(plan_of(f"rediss://127.0.0.1:{secure}/0?ssl_ca_certs={authority.file}"))
    assert told.endswith("certificate of its clients; broker_use_ssl: {ssl_certfile: …, ssl_keyfile: …} names one")


def test_a_file_that_is_not_there_is_named(secure: int) -> None:
    plan = plan_of(f"rediss://127.0.0.1:{secure}/0", broker_use_ssl={"ca_certs": "ca.pem"})
    with pytest.raises(BrokerError, match=r"TLS: ssl_ca_certs is /srv/shop/ca\.pem: No such file or directory"):
        connect(plan.broker.url, settings=plan.settings)


@pytest.mark.parametrize(
    ("names", "days", "expected"),
    [
        (["DNS:elsewhere.example"], 9, "its certificate is for another host name"),
        (["DNS:localhost"], -1, "its certificate has expired"),
    ],
)
def test_a_wrong_certificate_is_refused_by_all(
    authority: Authority, tmp_path: Path, names: list[str], days: int, expected: str
) -> None:
    port, wrong = free_port(), authority.issue("wrong", *names, days=days)
    with redis_with(tmp_path, {**authority.of_redis(wrong, port), "tls-auth-clients": "no"}):
        assert expected in refusal(plan_of(f"rediss://localhost:{port}/0?ssl_ca_certs={authority.file}"))


def test_plain_words_to_a_port_with_tls_and_the_reverse_are_explained(secure: int, tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"it closed the connection; does it want TLS \(rediss://\)\?"):
        connect(f"redis://127.0.0.1:{secure}/0")
    port = free_port()
    with redis_with(tmp_path, {"port": port}), pytest.raises(BrokerError, match="does not answer to TLS"):
        connect(f"rediss://127.0.0.1:{port}/0", 0.5)


# --- Sentinels --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Give the ports of a Redis with a password and of the sentinel, with another one, that watches it."""
    folder, master, port = tmp_path_factory.mktemp("sentinel"), free_port(), free_port()
    options = {"port": port, "requirepass": "asked", "sentinel auth-pass": "shop kept"}
    with redis_with(folder, {"port": master, "requirepass": "kept"}), sentinel(folder / "s", master, options):
        yield master, port


def of_sentinels(name: str = "shop", **kwargs: Any) -> dict[str, Any]:
    return {"broker_transport_options": {"master_name": name, "sentinel_kwargs": kwargs}}


def test_of_several_sentinels_one_that_answers_names_the_master_to_all(watched: tuple[int, int]) -> None:
    """kombu takes password and database from the first URL alone, and forgets them at the next."""
    master, port = watched
    plan = plan_of(f"sentinel://127.0.0.1:1;sentinel://:kept@127.0.0.1:{port}/3", **of_sentinels(password="asked"))
    all_connect(plan)
    with connect(plan.broker.url, settings=plan.settings) as ours:
        assert ours.where == f"127.0.0.1:{master}"


def test_a_sentinel_may_give_its_user_the_documented_rights_alone(watched: tuple[int, int]) -> None:
    rights = re.search(r"^- Sentinels: `(.*)`", DOCS.read_text(), re.MULTILINE)
    assert rights is not None
    with connect(f"redis://:asked@127.0.0.1:{watched[1]}") as sentinel:
        sentinel.call("ACL", "SETUSER", "asker", "on", ">secret", "-@all", *rights[1].split())
        url, own = f"sentinel://:kept@127.0.0.1:{watched[1]}/3", of_sentinels(username="asker", password="secret")
        all_connect(plan_of(url, **own))
        sentinel.call("ACL", "DELUSER", "asker")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            of_sentinels("shops", password="asked"),
            'this sentinel knows no master "shops"; broker_transport_options names it',
        ),
        (of_sentinels(), "it asks for a password, and the URL has none"),
        ({}, "which master the sentinels are to be asked for is not said: broker_transport_options: {master_name: …}"),
    ],
)
def test_a_sentinel_that_names_no_master_is_said(
    watched: tuple[int, int], options: dict[str, Any], expected: str
) -> None:
    plan = plan_of(f"sentinel://127.0.0.1:{watched[1]}", **options)
    with pytest.raises(BrokerError) as caught:
        connect(plan.broker.url, settings=plan.settings)
    assert str(caught.value) == f"127.0.0.1:{watched[1]}: {expected}"


def test_tls_to_sentinels_and_master_alike(authority: Authority, client: Certificate, tmp_path: Path) -> None:
    server, master, port = authority.issue("both", "IP:127.0.0.1"), free_port(), free_port()
    options = {"tls-replication": "yes"}
    tls = {"ssl_ca_certs": str(authority.file), "ssl_certfile": str(client.file), "ssl_keyfile": str(client.key)}
    with (
        redis_with(tmp_path, authority.of_redis(server, master)),
        sentinel(tmp_path / "s", master, {**authority.of_redis(server, port), **options}),
    ):
        settings = of_sentinels(ssl=True, **tls)
        all_connect(plan_of(f"sentinel://127.0.0.1:{port}/1", broker_use_ssl=tls, **settings))


def test_a_replica_is_not_taken_for_the_master(tmp_path: Path) -> None:
    """As long as a sentinel has not noticed that the roles are changed."""
    master, replica, port = free_port(), free_port(), free_port()
    with (
        redis_with(tmp_path, {"port": replica}),
        redis_with(tmp_path, {"port": master}),
        sentinel(tmp_path / "s", master, {"port": port}),
    ):
        plan = plan_of(f"sentinel://127.0.0.1:{port}", **of_sentinels())
        with connect(plan.broker.url, settings=plan.settings) as ours:
            ours.call("REPLICAOF", "127.0.0.1", replica)
        with pytest.raises(BrokerError, match="names it as the master, but it is a replica"):
            connect(plan.broker.url, settings=plan.settings)


# --- Clusters and users -----------------------------------------------------------------------------------


@pytest.mark.parametrize("database", [0, 1])
def test_a_cluster_is_refused_in_plain_words(tmp_path: Path, database: int) -> None:
    port = free_port()
    with redis_with(tmp_path, {"port": port, "cluster-enabled": "yes"}), pytest.raises(BrokerError) as caught:
        connect(f"redis://127.0.0.1:{port}/{database}")
    assert caught.value.reason == (
        "it is a node of a Redis Cluster, which Celery cannot work with: use one Redis, or one behind sentinels"
    )

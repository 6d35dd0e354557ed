"""The many ways to say how a broker is connected to, and the one that all who connect are told."""

from __future__ import annotations

from typing import Any

import pytest

from celeryfleet.errors import FleetError
from tests.unit.plan.fleets import fleet_text, plan_of

REQUIRED = {"ssl_cert_reqs": "required"}


def told(broker: str, results: str = "embedded", **celery: Any) -> dict[str, Any]:
    """Return what is told of connecting, but for what a plain Redis is told too."""
    settings = plan_of(fleet_text(broker=broker, results=results, celery=celery)).settings
    names = ("broker_url", "broker_use_ssl", "result_backend", "redis_backend_use_ssl")
    return {name: settings[name] for name in names if name in settings}


@pytest.mark.parametrize(
    ("broker", "celery"),
    [
        ("rediss://h/1", {}),
        ("rediss://h/1", {"broker_use_ssl": False}),
        ("rediss://h/1?ssl_cert_reqs=CERT_REQUIRED", {}),
        ("rediss://h/1", {"broker_use_ssl": {"cert_reqs": 2}}),
    ],
)
def test_tls_is_verified_by_all_where_nothing_else_is_said(broker: str, celery: dict[str, Any]) -> None:
    """kombu would verify nothing, the result backend raise a ValueError, and our own client verify."""
    url = {"broker_url": "rediss://h/1", "result_backend": "rediss://h/1"}
    assert told(broker, **celery) == {**url, "broker_use_ssl": REQUIRED, "redis_backend_use_ssl": REQUIRED}


def test_true_is_tls_on_redis_too() -> None:
    """kombu would go on in the clear."""
    assert told("redis://h", broker_use_ssl=True)["broker_use_ssl"] == REQUIRED


def test_without_tls_nothing_is_said_of_it() -> None:
    assert told("redis://h/1") == {"broker_url": "redis://h/1", "result_backend": "redis://h/1"}


def test_a_socket_has_no_tls_though_the_settings_are_those_of_another_broker() -> None:
    """As where an override file has a developer's fleet run on the embedded broker: a TypeError in workers."""
    options = {"ssl_ca_certs": "/ca.pem"}
    found = told("embedded", broker_use_ssl=options, redis_backend_use_ssl=options)
    assert (found["broker_use_ssl"], found["redis_backend_use_ssl"]) == (False, None)


def test_options_of_urls_and_settings_come_together_and_files_are_found_beside_fleet_yaml() -> None:
    found = told(
        "rediss://a?ssl_ca_certs=certs/ca.pem&socket_timeout=3;rediss://b?ssl_ca_certs=certs/ca.pem",
        broker_use_ssl={"ssl_certfile": "/etc/c.pem", "ssl_check_hostname": "false"},
    )
    assert found["broker_url"] == found["result_backend"] == "rediss://a?socket_timeout=3;rediss://b"
    assert found["broker_use_ssl"] == found["redis_backend_use_ssl"] == {
        **REQUIRED,
        "ssl_ca_certs": "/srv/shop/certs/ca.pem",
        "ssl_certfile": "/etc/c.pem",
        "ssl_check_hostname": False,
    }  # fmt: skip


def test_results_on_the_same_server_are_reached_as_the_broker_is_and_others_by_their_own_options() -> None:
    ours = {"broker_use_ssl": {"ssl_ca_certs": "/ca.pem"}}
    assert told("rediss://h/0", "rediss://h/1", **ours)["redis_backend_use_ssl"]["ssl_ca_certs"] == "/ca.pem"
    assert told("rediss://h/0", "rediss://other/1", **ours)["redis_backend_use_ssl"] == REQUIRED
    assert "redis_backend_use_ssl" not in told("rediss://h/0", "redis://other/1", **ours)
    assert "redis_backend_use_ssl" not in told("amqps://h//", "redis://h/1"), "which is another server on that host"
    own = {"redis_backend_use_ssl": {"ssl_cert_reqs": "none"}}
    assert told("rediss://h/0", "rediss://h/1", **ours, **own)["redis_backend_use_ssl"] == {"ssl_cert_reqs": "none"}


@pytest.mark.parametrize(
    ("broker", "celery", "expected"),
    [
        ("amqps://h//", {}, {"server_hostname": None}),
        ("amqp://h//", {"broker_use_ssl": True}, {"server_hostname": None}),
        ("amqps://h//?ssl_ca_certs=/ca.pem", {}, {"ca_certs": "/ca.pem", "server_hostname": None}),
        ("amqps://h//", {"broker_use_ssl": {"ssl_keyfile": "/k"}}, {"keyfile": "/k", "server_hostname": None}),
        ("amqps://h//", {"broker_use_ssl": {"check_hostname": False}}, {}),
        ("amqps://h//", {"broker_use_ssl": {"server_hostname": "x"}}, {"server_hostname": "x"}),
        ("amqps://h//;amqps://i//", {}, {}),
        ("amqps://h//", {"broker_use_ssl": {"cert_reqs": "none"}}, {"cert_reqs": 0}),
    ],
)
def test_rabbitmq_is_told_in_the_words_of_py_amqp(broker: str, celery: Any, expected: dict[str, Any]) -> None:
    """kombu raises a TypeError for `ssl_ca_certs` and for a text as `cert_reqs`, and seeks one name at all hosts."""
    found = told(broker, "rpc://", **celery)
    assert found["broker_url"] == broker.partition("?")[0]
    assert found["broker_use_ssl"] == {"cert_reqs": 2, **expected}


def test_each_sentinel_has_the_credentials_and_the_database_of_one() -> None:
    """kombu would go on without them after it has tried the first."""
    found = told("sentinel://a:1;sentinel://:pw@b:2/3", broker_transport_options={"master_name": "m"})
    assert found["broker_url"] == found["result_backend"] == "sentinel://:pw@a:1/3;sentinel://:pw@b:2/3"


def test_a_list_of_urls_is_one_of_semicolons() -> None:
    settings = plan_of(fleet_text(celery={"broker_url": ["redis://a", "redis://b"]})).settings
    assert settings["broker_url"] == settings["result_backend"] == "redis://a;redis://b"


def test_credentials_in_settings_are_everybodys() -> None:
    assert told("redis://h/1", broker_user="u", broker_password="p@")["broker_url"] == "redis://u:p%40@h/1"
    assert told("redis://:own@h/1", broker_password="p")["broker_url"] == "redis://:own@h/1"


def test_what_sentinels_are_asked_by_is_spelled_alike_too() -> None:
    kwargs = {"ssl": True, "ssl_ca_certs": "ca.pem", "password": "x"}
    options = {"master_name": "m", "sentinel_kwargs": kwargs}
    settings = plan_of(fleet_text(broker="sentinel://h", celery={"broker_transport_options": options})).settings
    expected = {**kwargs, "ssl_ca_certs": "/srv/shop/ca.pem", "ssl_cert_reqs": "required"}
    assert settings["broker_transport_options"]["sentinel_kwargs"] == expected
    assert settings["result_backend_transport_options"] == {"master_name": "m", "sentinel_kwargs": expected}


def test_other_brokers_are_left_alone() -> None:
    settings = plan_of(fleet_text(broker="sqs://", celery={"broker_use_ssl": True})).settings
    assert (settings["broker_url"], settings["broker_use_ssl"]) == ("sqs://", True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ssl_ca_cert": "x"}, 'there is no option "ca_cert" of TLS. Did you mean "ca_certs"?'),
        ({"server_hostname": "x"}, 'there is no option "server_hostname" of TLS. Did you mean "check_hostname"?'),
        ({"x": "x"}, 'there is no option "x" of TLS. The options are ca_certs, certfile, keyfile, cert_reqs, '),
        ({"cert_reqs": "yes"}, 'cert_reqs is "yes". Write none, optional or required.'),
    ],
)
def test_an_option_that_there_is_not_is_an_error_and_no_traceback_of_a_worker(options: Any, expected: str) -> None:
    with pytest.raises(FleetError) as caught:
        told("rediss://h", broker_use_ssl=options)
    assert str(caught.value).startswith("/srv/shop/fleet.yaml:1:")
    assert expected in str(caught.value)

"""Keeping credentials out of what is printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeryfleet.plan.secrets import masked, masked_origin, shown


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:pw@host:6379/0", "redis://:***@host:6379/0"),
        ("amqp://user:p@w/d@host//", "amqp://user:***@host//"),
        ("amqp://user:p?w#d@host//", "amqp://user:***@host//"),
        ("amqp://guest@host//", "amqp://guest@host//"),
        ("sentinel://:a@h1:26379;sentinel://:b@h2:26379", "sentinel://:***@h1:26379;sentinel://:***@h2:26379"),
        ("redis://:Z;a://Z@host", "redis://:***@host"),
        ("amqp://u:a@h1;amqp://u:b;c://@h2", "amqp://u:***@h1;amqp://u:***@h2"),
        ("redis://host/0?password=pw&db=1", "redis://host/0?password=***&db=1"),
        ("redis+socket:///run/v.sock?virtual_host=0", "redis+socket:///run/v.sock?virtual_host=0"),
        ("redis://:${looks_like_a_variable}@host", "redis://:***@host"),
        ("django-db", "django-db"),
    ],
)
def test_an_url_is_printed_without_its_password(written: str, printed: str) -> None:
    assert masked(written) == printed


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("redis://:${PASS}@host", "redis://:${PASS}@host"),
        ("redis://:${PASS:-pw}@host", "redis://:${PASS}@host"),
        ("redis://:${PASS:-${OTHER:-pw}}@host", "redis://:${PASS}@host"),
        ("redis://:${PASS}pw@host", "redis://:***@host"),
        ("redis://:pw@${HOST:-h}/$$", "redis://:***@${HOST}/$"),
        ("${URL}", "${URL}"),
        ("${URL:-redis://:pw@host}", "${URL}"),
        ("${URL:?set URL}", "${URL}"),
    ],
)
def test_an_url_as_written_keeps_its_variables_and_loses_their_defaults(written: str, printed: str) -> None:
    assert masked_origin(written) == printed


@given(st.text("abz:/?#@;%&= ", min_size=1).map(lambda text: f"Z{text}Z"), st.sampled_from(["", "user"]))
def test_no_password_is_ever_printed_whole(password: str, user: str) -> None:
    assert password not in masked(f"redis://{user}:{password}@host:6379/0")


def test_settings_hide_what_their_names_call_a_secret() -> None:
    settings = {
        "redis_password": "pw",
        "broker_url": "redis://:pw@host",
        "broker_transport_options": {"sentinel_kwargs": {"password": "pw"}, "unacked_key": "unacked"},
        "task_default_routing_key": "default",
        "s3_secret_access_key": "${KEY}",
    }
    origins = {"s3_secret_access_key": "${KEY:-pw}"}
    assert shown(settings, origins=origins) == {
        "redis_password": "***",
        "broker_url": "redis://:***@host",
        "broker_transport_options": {"sentinel_kwargs": {"password": "***"}, "unacked_key": "unacked"},
        "task_default_routing_key": "default",
        "s3_secret_access_key": "${KEY}",
    }

"""What may stand under `celery:`."""

from __future__ import annotations

from typing import Any

import pytest
from celery.app.defaults import _TO_NEW_KEY, SETTING_KEYS

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile import celery_names
from celeryfleet.fleetfile.load import parse


def problems(line: str, more: str = "") -> str:
    with pytest.raises(FleetError) as caught:
        parse(f"queues: {{a: }}\ncelery:\n  {line}\n{more}", "fleet.yaml", {})
    return str(caught.value).removeprefix("fleet.yaml:")


LINES = {
    "task_ack_late: true": '3:3: celery.task_ack_late is no setting of Celery\'s. Did you mean "task_acks_late"?',
    "zzz: true": "3:3: celery.zzz is no setting of Celery's.",
    "TASK_ACKS_LATE: true": "3:3: celery.TASK_ACKS_LATE is called task_acks_late now. Write task_acks_late",
    "CELERY_ACKS_LATE: true": "3:3: celery.CELERY_ACKS_LATE is called task_acks_late now. Write task_acks_late",
    "CELERY_TASK_ACKS_LATE: true": "3:3: celery.CELERY_TASK_ACKS_LATE is called task_acks_late now. "
    "Write task_acks_late",
    "CELERYD_CONCURRENCY: 2": "3:3: celery.CELERYD_CONCURRENCY is called worker_concurrency now. "
    "Write concurrency: in each pool instead.",
    "CELERY_ROUTES: {}": "3:3: celery.CELERY_ROUTES is called task_routes now. Write routes: at the top instead.",
    "BROKER_URL: x": "3:3: celery.BROKER_URL is called broker_url now. Write broker_url",
    "task_routes: {}": "3:3: celery.task_routes is for the fleet to set. Write routes: at the top instead.",
    "task_queues: []": "3:3: celery.task_queues is for the fleet to set. Write queues: at the top instead.",
    "task_default_queue: a": "3:3: celery.task_default_queue is for the fleet to set. "
    "Write default_queue: at the top instead.",
    "task_acks_late: maybe": "3:19: celery.task_acks_late must be true or false, but it is maybe.",
    "broker_pool_limit: 1d": "3:22: celery.broker_pool_limit must be a whole number, but it is 1d.",
    "result_expires: 1d": "3:19: celery.result_expires must be a number, but it is 1d. "
    "Celery wants seconds here: write 86400",
}


@pytest.mark.parametrize("line", LINES)
def test_a_setting_that_would_do_nothing_is_refused(line: str) -> None:
    assert problems(line) == LINES[line]


def test_one_thing_is_not_said_twice() -> None:
    assert problems("broker_url: redis://a", "broker: redis://b\n") == (
        "3:3: celery.broker_url says what broker says too. Keep one of them."
    )
    assert problems("beat_scheduler: a:B", "beat: {scheduler: c:D}\n") == (
        "3:3: celery.beat_scheduler says what beat.scheduler says too. Keep one of them."
    )
    assert problems("{}", "pools: {web: {queues: [a], time_limit: 1s, celery: {task_time_limit: 2}}}\n") == (
        '4:53: celery.task_time_limit of pool "web" says what time_limit of pool "web" says too. Keep one of them.'
    )


def test_a_pool_has_no_broker_of_its_own() -> None:
    assert problems("{}", "pools: {web: {queues: [a], celery: {broker_url: redis://b}}}\n") == (
        '4:37: celery.broker_url of pool "web" is the same for all pools. Write broker: at the top instead.'
    )


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("task_acks_late: 'on'", True),
        ("broker_use_ssl: {ssl_cert_reqs: none}", {"ssl_cert_reqs": "none"}),
        ("broker_pool_limit: null", None),
        ("result_expires: 3600", 3600),
        ("broker_url: redis://h", "redis://h"),
        ("worker_prefetch_multiplier: 1", 1),
        ("timezone: Europe/Berlin", "Europe/Berlin"),
        ("task_annotations: {'*': {rate_limit: 10/s}}", {"*": {"rate_limit": "10/s"}}),
        ("include: [a, b]", ["a", "b"]),
    ],
)
def test_a_setting_of_celerys_has_its_value(line: str, value: Any) -> None:
    fleet = parse(f"queues: {{a: }}\ncelery: {{{line}}}\n", "fleet.yaml", {})
    assert list(fleet.celery.values()) == [value]


def test_the_table_names_settings_of_the_installed_celery_alone() -> None:
    assert set(SETTING_KEYS) >= celery_names.KNOWN


def test_every_old_name_leads_to_its_new_one() -> None:
    old = {name: new for name, new in _TO_NEW_KEY.items() if new in celery_names.KNOWN}
    said = {name: problems(f"{name}: 1") for name in old}
    assert {name: text.split(" is called ")[1].split(" now")[0] for name, text in said.items()} == old


def test_what_a_newer_celery_knows_is_taken() -> None:
    text = "queues: {a: }\ncelery: {task_of_tomorrow: 1}\n"
    assert parse(text, "fleet.yaml", {}, newer=lambda: {"task_of_tomorrow": "task_of_tomorrow"}).celery == {
        "task_of_tomorrow": 1
    }
    with pytest.raises(FleetError, match=r"celery\.task_of_tomorrow is no setting of Celery's"):
        parse(text, "fleet.yaml", {})
